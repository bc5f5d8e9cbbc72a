package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/linearize/picture"
)

// judgeFlags say how to judge, and where the page goes.
type judgeFlags struct {
	page      string
	steps     int64
	memoryMiB int64
	timeout   time.Duration
	asJSON    bool
}

func judgeCommand() *cobra.Command {
	var f judgeFlags
	cmd := &cobra.Command{
		Use:   "judge [flags] HISTORY",
		Short: "Judge a recorded history of calls and draw what is wrong with it",
		Long: `Judge a history: can the pool have kept its promises, given what its callers saw? HISTORY is
a file of JSON lines, which docs/histories.md describes; compressed if its name ends in .gz,
standard input if it is "-".

The verdict is "ok", "illegal" with the number of the rule that is broken and a small set of
operations that shows it, or "unknown" if the budget did not suffice. An unknown verdict is a
failure. --steps, --memory and --timeout are the budget of the search; most histories need none.

A history that fails is drawn, as one page of HTML: where --output says, else beside HISTORY
under its name with the extension .html, or in the folder for temporary files if that cannot
be or HISTORY is "-". With --output the page of a history that passes is written too.
docs/judge.md says how to read it.

Exit codes: 0 ok; 1 illegal; 2 the history cannot be read or the page not be written, wrong
flags, an interrupt; 3 unknown.`,
		Example: "  poolproof judge testdata/histories/bad/I1-hand-double-grant.jsonl\n  poolproof judge -o page.html -json run.jsonl.gz",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args); err != nil {
				return err
			}
			return f.judge(cmd.Context(), args[0], cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.page, "output", "o", "", "write the page to this file, be the verdict ok or not")
	flags.Int64Var(&f.steps, "steps", linearize.DefaultSteps, "operations that the search may try")
	flags.Int64Var(&f.memoryMiB, "memory", linearize.DefaultBytes>>20, "MiB that the search may remember")
	flags.DurationVar(&f.timeout, "timeout", 0, "time that the search may take; 0 is no limit")
	flags.BoolVar(&f.asJSON, "json", false, "print the verdict as JSON")
	return cmd
}

func (f *judgeFlags) check(args []string) error {
	var errs []error
	if len(args) != 1 {
		errs = append(errs, fmt.Errorf("judge takes one HISTORY, got %d; \"-\" is standard input\nRun 'poolproof judge --help' for the flags", len(args)))
	}
	const most = 1 << 40 // MiB; more would not fit as bytes
	if f.steps < 1 || f.memoryMiB < 1 || f.memoryMiB > most {
		errs = append(errs, fmt.Errorf("--steps is %d and --memory is %d; both must be at least 1, --memory at most %d", f.steps, f.memoryMiB, int64(most)))
	}
	if f.timeout < 0 {
		errs = append(errs, fmt.Errorf("--timeout is %v; want 0, for no limit, or more", f.timeout))
	}
	return errors.Join(errs...)
}

// judgement is the result as --json prints it.
type judgement struct {
	History string    `json:"history"`
	Pool    string    `json:"pool,omitempty"`
	Seed    uint64    `json:"seed"`
	Replay  string    `json:"replay,omitempty"`
	Calls   int       `json:"calls"`
	Result  string    `json:"result"`
	Rule    string    `json:"rule,omitempty"`
	Promise string    `json:"promise,omitempty"`
	Text    string    `json:"text,omitempty"`
	Judge   string    `json:"judge,omitempty"`
	Ops     []shownOp `json:"ops,omitempty"`
	Changes []uint64  `json:"changes,omitempty"`
	Steps   int64     `json:"steps,omitempty"`
	Bytes   int64     `json:"bytes,omitempty"`
	Seconds float64   `json:"seconds"`
	Pages   []string  `json:"pages,omitempty"`
}

// shownOp is an operation of the set that shows the fault. Times are nanoseconds.
type shownOp struct {
	ID      int    `json:"op"`
	Client  int    `json:"client"`
	Kind    string `json:"do"`
	Outcome string `json:"outcome"`
	Session string `json:"session,omitempty"`
	Worker  uint64 `json:"worker,omitempty"`
	Token   uint64 `json:"token,omitempty"`
	Lease   int    `json:"lease,omitempty"`
	Seq     uint64 `json:"seq,omitempty"`
	Call    int64  `json:"call"`
	Return  int64  `json:"return,omitempty"`
}

// errUnknown reports that nothing was shown about a history; the output has said so already.
var errUnknown = errors.New("unknown")

func (f *judgeFlags) judge(ctx context.Context, name string, stdin io.Reader, stdout io.Writer) error {
	h, err := readHistory(name, stdin)
	if err != nil {
		return err
	}
	budget := linearize.Budget{Steps: f.steps, Bytes: f.memoryMiB << 20, Timeout: f.timeout}
	v := linearize.Judge(ctx, h, budget)
	if ctx.Err() != nil && v.Result == linearize.Unknown {
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	if v.Result == linearize.Illegal {
		cut(ctx, h, &v, budget)
	}
	pages, drawErr := f.draw(name, h, &v)
	j := newJudgement(name, h, &v, pages)
	if f.asJSON {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(j)
	} else {
		err = j.print(stdout, v.Result)
	}
	if err := errors.Join(err, drawErr); err != nil {
		return err
	}
	switch v.Result {
	case linearize.Ok:
		return nil
	case linearize.Illegal:
		return errFailed
	}
	return errUnknown
}

// readHistory reads a history from a file or, as "-", from stdin.
func readHistory(name string, stdin io.Reader) (*linearize.History, error) {
	if name != "-" {
		h, err := linearize.ReadFile(name)
		return h, advise(err)
	}
	h, err := linearize.Read(bufio.NewReader(stdin))
	if err != nil {
		err = fmt.Errorf("standard input: %w", err)
	}
	return h, advise(err)
}

// advise adds to an error of reading what to do about it.
func advise(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, gzip.ErrHeader):
		return fmt.Errorf("%w\nA name that ends in .gz stands for a compressed file; rename this one", err)
	case errors.Is(err, linearize.ErrTruncated), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w\nWhat wrote it did not come to its end; record the history again", err)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w\nName a history's file, or - for standard input", err)
	}
	return fmt.Errorf("%w\ndocs/histories.md describes the format; a compressed history has a name that ends in .gz", err)
}

// draw writes the page where it belongs and returns the names of what was written.
func (f *judgeFlags) draw(name string, h *linearize.History, v *linearize.Verdict) ([]string, error) {
	switch {
	case f.page != "":
		return picture.Save(f.page, h, v)
	case v.Result == linearize.Ok:
		return nil, nil
	case name != "-":
		if pages, err := picture.Beside(name, h, v); err == nil {
			return pages, nil
		}
	}
	dir, err := os.MkdirTemp("", "poolproof-judge-")
	if err != nil {
		return nil, err
	}
	return picture.Save(dir+"/history.html", h, v)
}

// cut makes the operations that v names those without which h would not be illegal, if they
// are fewer.
func cut(ctx context.Context, h *linearize.History, v *linearize.Verdict, budget linearize.Budget) {
	small, _ := linearize.Minimise(ctx, h, *v, budget)
	if len(v.Ops) > 0 && len(small.Ops) >= len(v.Ops) {
		return
	}
	v.Ops = v.Ops[:0:0]
	for i := range small.Ops {
		v.Ops = append(v.Ops, small.Ops[i].ID)
	}
}

func newJudgement(name string, h *linearize.History, v *linearize.Verdict, pages []string) *judgement {
	j := &judgement{
		History: name, Pool: h.Head.Pool, Seed: h.Head.Seed, Replay: h.Head.Replay, Calls: len(h.Ops), Result: v.Result.String(),
		Rule: v.Rule, Promise: picture.RuleText(v.Rule), Text: v.Text, Judge: v.Judge, Changes: v.Changes,
		Steps: v.Spent.Steps, Bytes: v.Spent.Bytes, Seconds: v.Spent.Elapsed.Seconds(), Pages: pages,
	}
	ids := slices.Sorted(slices.Values(v.Ops))
	for i := range h.Ops {
		o := &h.Ops[i]
		if _, shows := slices.BinarySearch(ids, o.ID); !shows {
			continue
		}
		j.Ops = append(j.Ops, shownOp{
			ID: o.ID, Client: o.Client, Kind: o.Kind.String(), Outcome: o.Outcome.String(), Session: o.Session,
			Worker: o.Worker, Token: o.Token, Lease: o.Lease, Seq: o.Seq, Call: int64(o.Call), Return: int64(o.Return),
		})
	}
	return j
}

func (j *judgement) print(out io.Writer, result linearize.Result) error {
	var b strings.Builder
	b.WriteString(j.Result)
	if j.Rule != "" {
		fmt.Fprintf(&b, ": %s", j.Rule)
		if j.Promise != "" {
			fmt.Fprintf(&b, ": %s", j.Promise)
		}
	}
	b.WriteString("\n")
	if j.Text != "" {
		fmt.Fprintf(&b, "%s\n", oneLine(j.Text))
	}
	if len(j.Ops) > 0 {
		b.WriteString("\n")
		j.table(&b)
	}
	if len(j.Changes) > 0 {
		fmt.Fprintf(&b, "\nand the changes with seq %s\n", strings.Trim(fmt.Sprint(j.Changes), "[]"))
	}
	if result == linearize.Unknown && j.Judge == "search" {
		fmt.Fprintf(&b, "\nspent %d steps and %d MiB; --steps, --memory and --timeout allow more\n", j.Steps, j.Bytes>>20)
	}
	if result != linearize.Ok {
		fmt.Fprintf(&b, "\n%s: %d calls, seed %d\n", j.History, j.Calls, j.Seed)
		if j.Replay != "" {
			fmt.Fprintf(&b, "repeat the run with: %s\n", oneLine(j.Replay))
		}
	}
	for _, page := range j.Pages {
		fmt.Fprintf(&b, "drawn in %s\n", page)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// table lists the operations that show the fault.
func (j *judgement) table(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "op\tclient\tcall\tsession\toutcome\tworker\tlease\tseq\tfrom\tto")
	for i := range j.Ops {
		o := &j.Ops[i]
		to := "-"
		if o.Outcome != linearize.NoAnswer.String() {
			to = picture.Duration(time.Duration(o.Return))
		}
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", o.ID, o.Client, o.Kind, dash(oneLine(o.Session)), o.Outcome,
			dash(o.Worker), dash(o.Lease), dash(o.Seq), picture.Duration(time.Duration(o.Call)), to)
	}
	w.Flush()
}

// dash returns v as text, and a dash for zero.
func dash[T comparable](v T) string {
	var zero T
	if v == zero {
		return "-"
	}
	return fmt.Sprint(v)
}

// oneLine keeps a text that someone else wrote from doing more on a terminal than stand there.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return '�'
		}
		return r
	}, s)
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/poolproof/poolproof/model"
)

// exploreFlags are the bounds of an exploration.
type exploreFlags struct {
	workers, sessions, clients int
	minSize, waiters, ttl      int
	affinity                   string
	maxStates, maxDepth        int
	asJSON                     bool
}

// exploration is the result as --json prints it.
type exploration struct {
	Affinity       string  `json:"affinity"`
	Workers        int     `json:"workers"`
	Sessions       int     `json:"sessions"`
	Clients        int     `json:"clients"`
	States         int     `json:"states"`
	Transitions    int     `json:"transitions"`
	Depth          int     `json:"depth"`
	BoundHit       bool    `json:"bound_hit"`
	Seconds        float64 `json:"seconds"`
	StatesPerSec   float64 `json:"states_per_second"`
	Verdict        string  `json:"verdict"`
	Counterexample string  `json:"counterexample,omitempty"`
}

func exploreCommand() *cobra.Command {
	var f exploreFlags
	cmd := &cobra.Command{
		Use:   "explore",
		Short: "Enumerate every state of the reference model",
		Long: `Enumerate every state that the reference model can reach within the bounds, check the
invariants in each, and check that no waiter can get stuck. The search is breadth first,
so that a counterexample is a shortest one. With --max-states or --max-depth only a part
is seen; the verdict says so, and stuck waiters are then not looked for.`,
		Example: "  poolproof explore --workers 2 --sessions 1 --clients 2 --affinity sticky",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%q is no flag, and explore takes nothing else\nRun 'poolproof explore --help' for the flags", args[0])
			}
			return explore(cmd.Context(), cmd.OutOrStdout(), &f)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.workers, "workers", 2, fmt.Sprintf("the largest MaxSize, up to %d", model.MaxWorkerSlots))
	flags.IntVar(&f.sessions, "sessions", 1, fmt.Sprintf("session names, up to %d", model.MaxSessionSlots))
	flags.IntVar(&f.clients, "clients", 2, fmt.Sprintf("concurrent callers, up to %d", model.MaxClientSlots))
	flags.IntVar(&f.minSize, "min-size", 0, "MinSize at first")
	flags.IntVar(&f.waiters, "max-waiters", 0, "MaxWaiters; 0 is no limit")
	flags.IntVar(&f.ttl, "ttl", 1, "SessionTTL in ticks; 0 is no limit")
	flags.StringVar(&f.affinity, "affinity", "strict", "strict, sticky or prefer")
	flags.IntVar(&f.maxStates, "max-states", 0, "stop when so many states are known; 0 is no limit")
	flags.IntVar(&f.maxDepth, "max-depth", 0, "do not go further than so many operations; 0 is no limit")
	flags.BoolVar(&f.asJSON, "json", false, "print the result as JSON")
	return cmd
}

// config returns the model's configuration that the flags ask for.
func (f *exploreFlags) config() (*model.Config, error) {
	affinity, ok := map[string]model.Affinity{
		"strict": model.Strict, "sticky": model.Sticky, "prefer": model.Prefer,
	}[f.affinity]
	if !ok {
		return nil, fmt.Errorf("--affinity is %q; want strict, sticky or prefer", f.affinity)
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	sizes := []model.Size{{Min: uint8(f.minSize), Max: uint8(f.workers)}}
	if f.workers > 1 {
		sizes = append(sizes, model.Size{Max: uint8(f.workers - 1)})
	}
	cfg := &model.Config{
		MinSize: f.minSize, MaxSize: f.workers, MaxWaiters: f.waiters, StartConcurrency: f.workers,
		BackoffMin: 1, BackoffMax: 1, Affinity: affinity, SessionTTL: f.ttl,
		Clients: f.clients, Sessions: f.sessions,
		Offer: model.OfferAll(sizes...),
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("cannot explore that: %w", err)
	}
	return cfg, nil
}

// check holds the flags against what the model can represent.
func (f *exploreFlags) check() error {
	var errs []error
	for _, b := range []struct {
		flag            string
		got, low, large int
	}{
		{"workers", f.workers, 1, model.MaxWorkerSlots},
		{"sessions", f.sessions, 0, model.MaxSessionSlots},
		{"clients", f.clients, 1, model.MaxClientSlots},
	} {
		if b.got < b.low || b.got > b.large {
			errs = append(errs, fmt.Errorf("--%s is %d; want %d to %d", b.flag, b.got, b.low, b.large))
		}
	}
	if f.minSize < 0 || f.minSize > f.workers {
		errs = append(errs, fmt.Errorf("--min-size is %d; want 0 to --workers, which is %d", f.minSize, f.workers))
	}
	if f.maxStates < 0 || f.maxDepth < 0 {
		errs = append(errs, fmt.Errorf("--max-states is %d and --max-depth is %d; want 0, for no limit, or more", f.maxStates, f.maxDepth))
	}
	return errors.Join(errs...)
}

// search explores until it is done or ctx ends. The model cannot be interrupted: a search
// that is given up goes on until the process ends.
func search(ctx context.Context, cfg *model.Config, bounds model.Bounds) (*model.Report, error) {
	type result struct {
		report *model.Report
		err    error
	}
	done := make(chan result, 1)
	go func() {
		report, err := model.Explore(cfg, bounds)
		done <- result{report, err}
	}()
	select {
	case r := <-done:
		return r.report, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("interrupted: %w; --max-states or --max-depth bounds the search", context.Cause(ctx))
	}
}

func explore(ctx context.Context, out io.Writer, f *exploreFlags) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	report, err := search(ctx, cfg, model.Bounds{MaxStates: f.maxStates, MaxDepth: f.maxDepth})
	if err != nil {
		return err
	}
	e := exploration{
		Affinity: f.affinity, Workers: f.workers, Sessions: f.sessions, Clients: f.clients,
		States: report.States, Transitions: report.Transitions, Depth: report.Depth, BoundHit: report.BoundHit,
		Seconds: report.Search.Seconds(), StatesPerSec: report.StatesPerSecond(), Verdict: "every rule holds",
	}
	switch {
	case report.Counterexample != nil:
		e.Verdict, e.Counterexample = "a rule is broken", report.Counterexample.String()
	case report.BoundHit:
		e.Verdict = "no rule is broken within the bounds, which were hit; stuck waiters were not looked for"
	}
	if f.asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		err = enc.Encode(e)
	} else {
		err = e.print(out)
	}
	if err == nil && report.Counterexample != nil {
		return errFailed
	}
	return err
}

func (e *exploration) print(out io.Writer) error {
	rows := [][2]string{
		{"model", fmt.Sprintf("%s affinity, %d workers, %d sessions, %d clients", e.Affinity, e.Workers, e.Sessions, e.Clients)},
		{"states", fmt.Sprint(e.States)},
		{"transitions", fmt.Sprint(e.Transitions)},
		{"depth", fmt.Sprint(e.Depth)},
		{"time", time.Duration(e.Seconds * float64(time.Second)).Round(time.Millisecond).String()},
		{"states/s", fmt.Sprintf("%.0f", e.StatesPerSec)},
		{"verdict", e.Verdict},
	}
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "%-12s %s\n", r[0], r[1])
	}
	if e.Counterexample != "" {
		fmt.Fprintf(&b, "\n%s\n", e.Counterexample)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

package recorded

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/linearize/picture"
)

// Keeper judges histories, one after the other. Each is written to a file before it is
// judged; the next one takes its place, and nothing is left of them if the test passes. A
// Keeper is for one goroutine.
type Keeper struct {
	// Replay is the command that repeats the run, for histories whose head has none.
	Replay string

	t    testing.TB
	dir  string
	file *os.File
	w    *bufio.Writer
	kept bool // a failure has been drawn

	series  linearize.Series // of Sift
	writing sync.Mutex       // held by write
}

// NewKeeper returns a Keeper whose files are in a folder of their own, which is made for the
// first history: the test's folder of artifacts if the flag -artifacts is given, and else one
// among the temporary files, which stays if t fails with a failure that Keep has drawn.
func NewKeeper(t testing.TB) *Keeper {
	k := &Keeper{t: t}
	t.Cleanup(k.clear)
	return k
}

// fileBytes is the buffer that linearize.Write wants; with a smaller one it makes its own.
const fileBytes = 1 << 16

// fileName is the name of the file of the history that is being judged.
const fileName = "history.jsonl"

// open makes the folder and the file.
func (k *Keeper) open() error {
	if k.file != nil {
		return nil
	}
	if k.dir == "" {
		if f := flag.Lookup("test.artifacts"); f != nil && f.Value.String() == "true" {
			if t, ok := k.t.(interface{ ArtifactDir() string }); ok {
				k.dir = t.ArtifactDir()
			}
		}
	}
	if k.dir == "" {
		dir, err := os.MkdirTemp("", "poolproof-history-")
		if err != nil {
			return err
		}
		k.dir = dir
	}
	f, err := os.Create(filepath.Join(k.dir, fileName))
	if err != nil {
		return err
	}
	k.file = f
	if k.w == nil {
		k.w = bufio.NewWriterSize(f, fileBytes)
	}
	return nil
}

// clear removes the file of the last history, and the folder if nothing is in it.
func (k *Keeper) clear() {
	k.writing.Lock() // a late one may be under way
	defer k.writing.Unlock()
	if k.file == nil {
		return
	}
	k.file.Close()
	if err := os.Remove(k.file.Name()); err != nil {
		k.t.Errorf("recorded: %v", err)
	}
	k.file = nil
	if !k.kept && strings.HasPrefix(filepath.Base(k.dir), "poolproof-history-") {
		_ = os.Remove(k.dir) // it is not empty if what holds it belongs to somebody else
	}
}

// write writes a history over the one before.
func (k *Keeper) write(h *linearize.History) error {
	k.writing.Lock()
	defer k.writing.Unlock()
	if err := k.open(); err != nil {
		return err
	}
	counted := &counter{f: k.file}
	k.w.Reset(counted)
	if err := linearize.Write(k.w, h); err != nil {
		return err
	}
	return k.file.Truncate(counted.n)
}

// counter writes to the beginning of a file.
type counter struct {
	f *os.File
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.f.WriteAt(p, c.n)
	c.n += int64(n)
	return n, err
}

// Judge writes h to the file and judges it. It returns nil if the verdict is Ok, and else a
// *Failure, whose text begins with the rule that is broken, or with "unknown".
func (k *Keeper) Judge(h *linearize.History) *Failure {
	k.head(h)
	written := k.write(h)
	v := linearize.Judge(context.Background(), h, linearize.Budget{})
	if written == nil && v.Result == linearize.Ok {
		return nil
	}
	return &Failure{History: h, Verdict: v, written: written}
}

// head fills in what the history's recorder did not know.
func (k *Keeper) head(h *linearize.History) {
	h.Head.Replay = cmp.Or(h.Head.Replay, k.Replay)
}

// sluggish is how long a history may be judged by Sift before it is written.
const sluggish = 2 * time.Second

// Sift is Judge for those with thousands of short histories a second. It writes a history
// only if it is not Ok at first sight, if it is judged for two seconds, in case that never
// ends, or if the judge panics.
func (k *Keeper) Sift(h *linearize.History) *Failure { return k.sift(h, k.series.Judge, sluggish) }

func (k *Keeper) sift(h *linearize.History, judge judge, sluggish time.Duration) *Failure {
	k.head(h)
	late := time.AfterFunc(sluggish, func() { _ = k.write(h) }) // what it could not write, Judge says
	sifted := false
	defer func() {
		late.Stop()
		if !sifted {
			_ = k.write(h) // the panic goes on
		}
	}()
	v := judge(context.Background(), h, linearize.Budget{})
	sifted = true
	if v.Result == linearize.Ok {
		return nil
	}
	return &Failure{History: h, Verdict: v, written: k.write(h)}
}

// judge is linearize.Judge.
type judge func(context.Context, *linearize.History, linearize.Budget) linearize.Verdict

// Keep writes the history of a failure to a file that stays, with its page and porcupine's
// beside it, over the one before, and returns what a message should say of it: the names of the files, and the
// command that judges it again.
func (k *Keeper) Keep(f *Failure) string {
	err := k.open()
	name := filepath.Join(k.dir, "failure.jsonl")
	k.kept = true
	if err == nil {
		err = linearize.WriteFile(name, f.History)
	}
	var pages []string
	if err == nil {
		pages, err = picture.Beside(name, f.History, &f.Verdict)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "the history, %d calls, is in %s\n", len(f.History.Ops), name)
	for _, page := range pages {
		fmt.Fprintf(&b, "drawn in %s\n", page)
	}
	fmt.Fprintf(&b, "to judge it again: poolproof judge %s\n", name)
	if err != nil {
		fmt.Fprintf(&b, "not all of that could be written: %v\n", err)
	}
	return b.String()
}

// Verify is Judge and, if need be, Keep: nil, or an error that says all.
func (k *Keeper) Verify(h *linearize.History) error {
	if f := k.Judge(h); f != nil {
		return fmt.Errorf("%w\n%s", f, k.Keep(f))
	}
	return nil
}

// Failure is a history that is not Ok.
type Failure struct {
	History *linearize.History
	Verdict linearize.Verdict

	written error // of writing the file
}

// Error says what is wrong, the rule first.
func (f *Failure) Error() string {
	v := &f.Verdict
	text := fmt.Sprintf("%s: the history shows: %s (%s)", v.Rule, v.Text, v.Judge)
	switch v.Result {
	case linearize.Unknown:
		text = fmt.Sprintf("unknown: the history could not be judged: %s (%s, %d steps, %d bytes)", v.Text, v.Judge, v.Spent.Steps, v.Spent.Bytes)
	case linearize.Ok:
		text = "unknown: the history could not be written"
	}
	if f.written != nil {
		text += ": " + f.written.Error()
	}
	return text
}

// Unwrap returns why the history could not be written, if so.
func (f *Failure) Unwrap() error { return f.written }

var errNoPool = errors.New("recorded: no pool was opened")

package recorded

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/pool"
)

// quiet is a test whose failures and cleanups are its caller's to see.
type quiet struct {
	testing.TB
	cleanups []func()
	errors   []string
}

func (q *quiet) Cleanup(f func())                  { q.cleanups = append(q.cleanups, f) }
func (q *quiet) Helper()                           {}
func (q *quiet) Errorf(format string, args ...any) { q.errors = append(q.errors, format) }

func (q *quiet) end() {
	for i := len(q.cleanups) - 1; i >= 0; i-- {
		q.cleanups[i]()
	}
}

// newTestKeeper returns a keeper whose files are in a folder of t.
func newTestKeeper(t *testing.T) (*Keeper, *quiet) {
	t.Helper()
	q := &quiet{TB: t}
	k := NewKeeper(q)
	k.dir = t.TempDir()
	t.Cleanup(q.end)
	return k, q
}

func readBack(t *testing.T, k *Keeper) *linearize.History {
	t.Helper()
	h, err := linearize.ReadFile(filepath.Join(k.dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// held is a history in which two clients have one worker; bad is false for only one.
func held(bad bool) *linearize.History {
	r := linearize.NewRecorder(linearize.RecorderConfig{})
	for range 2 {
		c := r.Client()
		c.Call(linearize.Request{Kind: linearize.Acquire})
		l := c.Return(linearize.Answer{Outcome: linearize.Granted, Worker: 1})
		if !bad {
			c.Call(linearize.Request{Kind: linearize.Release, Lease: l})
			c.Return(linearize.Answer{Outcome: linearize.Done})
		}
	}
	return r.History()
}

// long is a history of twelve calls.
func long() *linearize.History {
	r := linearize.NewRecorder(linearize.RecorderConfig{})
	for range 12 {
		c := r.Client()
		c.Call(linearize.Request{Kind: linearize.Try})
		c.Return(linearize.Answer{Outcome: linearize.Refused})
	}
	return r.History()
}

func TestJudgeWritesBeforeItJudges(t *testing.T) {
	k, q := newTestKeeper(t)
	if f := k.Judge(held(false)); f != nil {
		t.Error(f)
	}
	if h := readBack(t, k); len(h.Ops) != 4 {
		t.Errorf("%d ops in the file, want 4", len(h.Ops))
	}
	f := k.Judge(held(true))
	if f == nil || !strings.HasPrefix(f.Error(), "I1: ") {
		t.Fatalf("got %v, want I1", f)
	}
	if h := readBack(t, k); len(h.Ops) != 2 {
		t.Errorf("%d ops in the file, want those of the second history", len(h.Ops))
	}
	text := k.Keep(f)
	for _, name := range []string{"failure.jsonl", "failure.html"} {
		if _, err := os.Stat(filepath.Join(k.dir, name)); err != nil || !strings.Contains(text, name) {
			t.Errorf("%s: %v, in %q", name, err, text)
		}
	}
	q.end()
	if _, err := os.Stat(filepath.Join(k.dir, fileName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the last history is left: %v", err)
	}
}

// TestUnknownIsAFailure: a history of which nothing can be said is not sound.
func TestUnknownIsAFailure(t *testing.T) {
	h := held(false)
	h.Ops[0].Return = 0 // before it was called
	for name, judge := range map[string]func(*Keeper) *Failure{
		"judge": func(k *Keeper) *Failure { return k.Judge(h) },
		"sift":  func(k *Keeper) *Failure { return k.Sift(h) },
	} {
		k, _ := newTestKeeper(t)
		f := judge(k)
		if f == nil || f.Verdict.Result != linearize.Unknown || !strings.HasPrefix(f.Error(), "unknown: ") {
			t.Fatalf("%s: got %v, want that nothing is known", name, f)
		}
		if _, err := os.Stat(filepath.Join(k.dir, fileName)); err != nil || !strings.Contains(k.Keep(f), "poolproof judge ") {
			t.Errorf("%s: no file, or no command is named: %v", name, err)
		}
	}
}

// TestFailingWriteIsAFailure: where a history cannot be written it is judged all the same,
// the error is told, and a sound one is no success.
func TestFailingWriteIsAFailure(t *testing.T) {
	for _, bad := range []bool{false, true} {
		k, _ := newTestKeeper(t)
		k.dir = filepath.Join(k.dir, "nobody made it")
		f := k.Judge(held(bad))
		want := "unknown: the history could not be written"
		if bad {
			want = "I1: "
		}
		if f == nil || !strings.HasPrefix(f.Error(), want) || !errors.Is(f, os.ErrNotExist) {
			t.Fatalf("got %v, want %s and the error", f, want)
		}
		if len(f.History.Ops) == 0 || !strings.Contains(k.Keep(f), "could be written") {
			t.Error("the history, or the error of keeping it, is lost")
		}
	}
}

func TestSiftWritesWhatIsNotSound(t *testing.T) {
	k, _ := newTestKeeper(t)
	if f := k.Sift(held(false)); f != nil || k.file != nil {
		t.Fatalf("got %v, and a file: %v; want neither", f, k.file)
	}
	if f := k.Sift(held(true)); f == nil || len(readBack(t, k).Ops) != 2 {
		t.Errorf("got %v, want a failure in a file", f)
	}
	unknown := func(context.Context, *linearize.History, linearize.Budget) linearize.Verdict {
		return linearize.Verdict{Result: linearize.Unknown}
	}
	if f := k.sift(long(), unknown, sluggish); f == nil || len(readBack(t, k).Ops) != 12 {
		t.Errorf("got %v, want a failure in a file", f)
	}
}

// TestSiftWritesBeforeItIsTooLate: the history is there when a judge panics, and while one
// hangs.
func TestSiftWritesBeforeItIsTooLate(t *testing.T) {
	k, _ := newTestKeeper(t)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is swallowed")
			}
		}()
		k.sift(held(true), func(context.Context, *linearize.History, linearize.Budget) linearize.Verdict { panic("as planned") }, sluggish)
	}()
	if h := readBack(t, k); len(h.Ops) != 2 {
		t.Errorf("%d ops in the file, want 2", len(h.Ops))
	}
	name := filepath.Join(k.dir, fileName)
	hangs := func(context.Context, *linearize.History, linearize.Budget) linearize.Verdict {
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if h, err := linearize.ReadFile(name); err == nil && len(h.Ops) == 12 {
				return linearize.Verdict{Result: linearize.Ok}
			}
		}
		t.Error("nothing is written while the judge hangs")
		return linearize.Verdict{Result: linearize.Ok}
	}
	k.sift(long(), hangs, time.Millisecond)
}

func TestReplayOfTheKeeper(t *testing.T) {
	k, _ := newTestKeeper(t)
	k.Replay = "go test"
	k.Judge(held(false))
	if got := readBack(t, k).Head.Replay; got != k.Replay {
		t.Errorf("the head says %q, want %q", got, k.Replay)
	}
}

func openInts(cfg pool.Config[int]) (*pool.Pool[int], error) {
	cfg.Start = func(_ context.Context, id pool.WorkerID) (int, error) { return int(id), nil }
	return pool.New(cfg)
}

// TestOpenRecordsAndJudges: calls, leases and their ends are in the history; a second
// release, which is no call that a pool serves, is not, and panics as ever.
func TestOpenRecordsAndJudges(t *testing.T) {
	k, _ := newTestKeeper(t)
	p, err := OpenWith(k, "p", pool.Config[int]{MaxSize: 1, Affinity: pool.Strict}, openInts)
	if err != nil {
		t.Fatal(err)
	}
	lease, err := p.AcquireSession(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	lease.Release()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a second release does not panic")
			}
		}()
		lease.Release()
	}()
	err = p.Do(t.Context(), "a", func(context.Context, int) error { return nil })
	if err = errors.Join(err, p.Resize(0, 2), p.Close()); err != nil {
		t.Fatal(err)
	}
	var h *linearize.History
	p.judge = func(of *linearize.History) *Failure {
		h = of
		return k.Judge(of)
	}
	if err := p.Judge(); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for i := range h.Ops {
		kinds = append(kinds, h.Ops[i].Kind.String())
	}
	if got, want := strings.Join(kinds, " "), "acquire release acquire release resize close"; got != want {
		t.Errorf("recorded %s, want %s", got, want)
	}
	if len(h.Changes) == 0 {
		t.Error("the pool's report is not in the history")
	}
}

// TestRetireOfNobody: a worker that was retired before it began is granted later.
func TestRetireOfNobody(t *testing.T) {
	k, _ := newTestKeeper(t)
	p, err := OpenWith(k, "p", pool.Config[int]{MaxSize: 1}, openInts)
	if err != nil {
		t.Fatal(err)
	}
	p.Retire(1, nil)
	lease, err := p.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lease.Release()
	p.Retire(lease.WorkerID(), nil)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	var retired []uint64
	p.judge = func(h *linearize.History) *Failure {
		for i := range h.Ops {
			if h.Ops[i].Kind == linearize.Retire {
				retired = append(retired, h.Ops[i].Worker)
			}
		}
		return k.Judge(h)
	}
	if err := p.Judge(); err != nil {
		t.Error(err)
	}
	if len(retired) != 1 || lease.WorkerID() != 1 {
		t.Errorf("worker %d was granted and %d retired, want 1 and one", lease.WorkerID(), retired)
	}
}

// TestOpenFailsItsTest: what Open opened is judged when the test ends.
func TestOpenFailsItsTest(t *testing.T) {
	q := &quiet{TB: t}
	t.Setenv("TMPDIR", t.TempDir())
	p, err := Open(q, pool.Config[int]{MaxSize: 1, Affinity: pool.Strict}, openInts)
	if err != nil {
		t.Fatal(err)
	}
	lease, err := p.AcquireSession(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	p.Pool.EndSession("a") // round the recorder: the pool seems to act unasked
	lease.Release()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	q.end()
	if len(q.errors) == 0 {
		t.Error("the test passed")
	}
}

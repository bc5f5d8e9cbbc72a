package pool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
	"github.com/poolproof/poolproof/pool/pooltest/broken"
)

// These tests are named by rows of docs/guide.md that nothing else covers.

// L5: a worker belongs to the pool, not to the caller for whom it was started.
func TestWorkerOutlivesTheCallerItWasStartedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fakes := pooltest.NewFakes(t, 1)
		cfg := fakes.Config()
		cfg.MaxSize = 1
		p := pooltest.New(t, cfg)
		var first pool.WorkerID
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			lease, err := p.AcquireSession(ctx, "a")
			if err != nil {
				t.Error(err)
				return
			}
			first = lease.WorkerID()
			lease.Release()
		}()
		synctest.Wait()
		cancel()
		time.Sleep(time.Hour)
		lease, err := p.AcquireSession(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		defer lease.Release()
		if err := lease.Worker().Use(nil); err != nil || lease.WorkerID() != first || lease.Fresh() {
			t.Errorf("worker %d, fresh %v, answers %v; want worker %d, which has the session", lease.WorkerID(), lease.Fresh(), err, first)
		}
	})
}

// nilError is an error whose method cannot be called.
type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

// L13: whatever a hook fails with, its worker alone is concerned and the capacity returns.
func TestEveryShapeOfFailureHeals(t *testing.T) {
	var noError *nilError
	fail := func(err error) func() error { return func() error { return err } }
	fault := func(v any) func() error { return func() error { panic(v) } }
	for name, end := range map[string]func() error{
		"plain":             fail(errTest),
		"wrapped":           fail(fmt.Errorf("twice: %w", fmt.Errorf("once: %w", errTest))),
		"joined":            fail(errors.Join(errTest, context.Canceled)),
		"empty":             fail(errors.New("")),
		"nil pointer":       fail(noError),
		"cancelled":         fail(context.Canceled),
		"deadline":          fail(context.DeadlineExceeded),
		"the pool's own":    fail(pool.ErrClosed),
		"lost":              fail(pool.ErrSessionLost),
		"start error":       fail(&pool.StartError{ID: 7, Err: errTest}),
		"worker error":      fail(&pool.WorkerError{ID: 7}),
		"panic with error":  fault(errTest),
		"panic with text":   fault("test"),
		"panic with struct": fault(struct{ a []int }{}),
		"panic with nil":    fault(noError),
		"runtime error":     func() error { var none []error; return none[0] },
		"goexit":            func() error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ill := pool.WorkerID(2) // whose check fails
				cfg := quick(2)
				cfg.Start = func(_ context.Context, id pool.WorkerID) (pool.WorkerID, error) {
					if id == 1 {
						return id, end()
					}
					return id, nil
				}
				cfg.Check = func(_ context.Context, id pool.WorkerID) error {
					if id == ill {
						return end()
					}
					return nil
				}
				cfg.Stop = func(context.Context, pool.WorkerID, error) error { return end() }
				cfg.HealthCheckPeriod = time.Second
				p := pooltest.New(t, cfg)
				var failed *pool.StartError
				if _, err := p.Acquire(t.Context()); !errors.As(err, &failed) || failed.ID != 1 {
					t.Fatalf("the failing start: %T, want a *StartError of worker 1", err)
				}
				time.Sleep(time.Second)
				first, second := acquire(t, p, ""), acquire(t, p, "")
				first.Release()
				second.Release()
				time.Sleep(time.Minute)
				first, second = acquire(t, p, ""), acquire(t, p, "")
				if got := []pool.WorkerID{first.WorkerID(), second.WorkerID()}; slices.Contains(got, ill) {
					t.Errorf("workers %v are leased, though worker %d failed its check", got, ill)
				}
				first.Release()
				second.Release()
			})
		})
	}
}

// L20: a worker can be reported dead from the first moment at which anybody can know of
// it, and is then never granted.
func TestWorkerMayBeRetiredAsSoonAsItIsSeen(t *testing.T) {
	for _, moment := range []string{"in Start", pool.WorkerStarting.String(), pool.WorkerStarted.String()} {
		t.Run(moment, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var p *pooltest.Pool[pool.WorkerID]
				cfg := quick(1)
				cfg.Start = func(_ context.Context, id pool.WorkerID) (pool.WorkerID, error) {
					if id == 1 && moment == "in Start" {
						p.Retire(id, errTest)
					}
					return id, nil
				}
				cfg.Observer = func(e pool.Event) {
					if e.Worker == 1 && e.Kind.String() == moment {
						p.Retire(e.Worker, errTest)
					}
				}
				p = pooltest.New(t, cfg)
				if err := p.Ready(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				lease := acquire(t, p, "")
				defer lease.Release()
				if lease.WorkerID() != 2 {
					t.Errorf("granted worker %d, want 2: worker 1 is dead", lease.WorkerID())
				}
			})
		})
	}
}

// L22: what the pool remembers does not grow with the workers and sessions that were.
func TestBooksAreBoundedOverRestarts(t *testing.T) {
	cfg := quick(2)
	cfg.SessionEnded = func(context.Context, pool.WorkerID, pool.SessionID) error { return nil }
	p, err := pool.New(cfg) // not by pooltest, which remembers every worker
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	restarts := func(from, n int) {
		for i := range n {
			id := pool.SessionID(fmt.Sprint("session ", from+i))
			lease, err := p.AcquireSession(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			lease.Discard(errTest)
			p.EndSession(id)
		}
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const most = 20_000
	restarts(0, 1000)
	before := heap()
	restarts(1000, most)
	// The shortest entry for each of them would take more.
	if grown := heap() - before; grown > most*8 {
		t.Errorf("after %d more restarts the heap has %d bytes more", most, grown)
	}
	if s := p.Stat(); s.Sessions != 0 || s.Live() > 2 || s.Counts.Started < most {
		t.Errorf("after the restarts: %+v", s)
	}
}

// L24: an acquire whose AcquireTimeout meets a release has one outcome, and nothing of it
// comes back later.
func TestTimeoutThatMeetsAReleaseHasOneOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quick(1)
		cfg.AcquireTimeout = time.Second
		p := pooltest.New(t, cfg)
		granted, refused := 0, 0
		for range 200 {
			held := acquire(t, p, "")
			outcome := make(chan error, 2)
			go func() {
				lease, err := p.Acquire(t.Context())
				outcome <- err
				if err == nil {
					lease.Release()
				}
			}()
			time.Sleep(time.Second) // the timer and this goroutine run in any order
			held.Release()
			switch err := <-outcome; err {
			case nil:
				granted++
			case pool.ErrAcquireTimeout:
				refused++
			default:
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			if s := p.Stat(); s.Idle != 1 || s.Leased != 0 || s.Waiting != 0 || len(outcome) > 0 {
				t.Fatalf("after the outcome: %+v, %d more outcomes", s, len(outcome))
			}
		}
		t.Logf("%d granted, %d refused", granted, refused)
		if s := p.Stat(); s.Counts.Granted != uint64(200+granted) {
			t.Errorf("%d leases, want %d", s.Counts.Granted, 200+granted)
		}
	})
}

// guideRow is a row of the guide's table: its number, and the checks that it names.
var (
	guideRow  = regexp.MustCompile(`^\| ([LG][0-9]+) \| [^|]+ \| ([^|]+) \|$`)
	guideName = regexp.MustCompile("`([^`]+)`")
)

// TestGuideNamesWhatExists demands that every row of the guide is there and that each check
// which it or the README names exists: a test, a trace, or a planted fault.
func TestGuideNamesWhatExists(t *testing.T) {
	known, texts := knownChecks(t)
	guide, err := os.ReadFile("../docs/guide.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	checks := map[string]string{}
	for line := range strings.Lines(string(guide)) {
		row := guideRow.FindStringSubmatch(strings.TrimSpace(line))
		if row == nil {
			continue
		}
		rows = append(rows, row[1])
		checks[row[1]] = row[2]
		names := guideName.FindAllStringSubmatch(row[2], -1)
		if len(names) == 0 && !strings.Contains(row[2], "not yet") {
			t.Errorf("%s names no check and does not say: not yet", row[1])
		}
		for _, name := range names {
			// A subtest is a string in some test, with spaces for underscores.
			test, sub, _ := strings.Cut(name[1], "/")
			if !known[test] || sub != "" && !texts[strings.ReplaceAll(sub, "_", " ")] {
				t.Errorf("%s names %s, which does not exist", row[1], name[1])
			}
		}
	}
	var want []string
	for i := range 38 {
		want = append(want, fmt.Sprint("L", i+1))
	}
	for i := range 15 {
		want = append(want, fmt.Sprint("G", i+1))
	}
	if !slices.Equal(rows, want) {
		t.Errorf("the rows are %v, want %v", rows, want)
	}
	for _, info := range slices.Concat(broken.Faults(), broken.Races()) {
		if !strings.Contains(checks[info.Lesson], "`"+info.Name+"`") {
			t.Errorf("%s does not name the planted fault %s, which is modelled on it", info.Lesson, info.Name)
		}
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(string(readme)+string(guide), -1) {
		if !known[test] {
			t.Errorf("README or guide name %s, which does not exist", test)
		}
	}
}

// knownChecks returns the names of all tests, traces and planted faults, and the strings
// in tests.
func knownChecks(t *testing.T) (known, texts map[string]bool) {
	t.Helper()
	known, texts = map[string]bool{}, map[string]bool{}
	for _, info := range slices.Concat(broken.Faults(), broken.Races()) {
		known[info.Name] = true
	}
	traces, err := filepath.Glob("../testdata/traces/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, trace := range traces {
		known[filepath.Base(trace)] = true
	}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(|"([^"\n]+)"`)
	err = filepath.WalkDir("..", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, test := range declared.FindAllSubmatch(source, -1) {
			known[string(test[1])], texts[string(test[2])] = true, true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return known, texts
}

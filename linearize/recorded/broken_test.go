package recorded_test

import (
	"bytes"
	"context"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest/broken"
)

var update = flag.Bool("update", false, "write the histories of broken pools in testdata anew")

// stage is a broken pool whose clients do one thing after the other, in a bubble, so that
// the history is the same each time.
type stage struct {
	t        *testing.T
	p        *broken.Pool[int]
	recorder *linearize.Recorder
	clients  map[int]*linearize.Client
	leases   map[int]broken.Lease[int]
	taken    map[int]linearize.Lease
	cancels  map[int]context.CancelFunc

	mu   sync.Mutex
	came map[int]func() // by client: takes down the answer that has come; guarded by mu
}

func newStage(t *testing.T, s *story) *stage {
	t.Helper()
	s.pool.Start = func(_ context.Context, id pool.WorkerID) (int, error) {
		time.Sleep(time.Duration(id) * 100 * time.Microsecond) // so that they become idle in that order
		return int(id), nil
	}
	p, err := broken.New(s.pool, s.fault)
	if err != nil {
		t.Fatal(err)
	}
	head := linearize.Head{
		Pool: "broken: " + s.fault.String(), Config: s.promise,
		Replay: "go test ./linearize/recorded -run 'TestBrokenPools/" + s.name + "$'",
	}
	head.Config.Capacity = s.pool.MaxSize
	head.Config.Affinity = linearize.Strict + linearize.Affinity(s.pool.Affinity-pool.Strict)
	return &stage{
		t: t, p: p, recorder: linearize.NewRecorder(linearize.RecorderConfig{Head: head, Ordered: true}),
		clients: map[int]*linearize.Client{}, leases: map[int]broken.Lease[int]{},
		taken: map[int]linearize.Lease{}, cancels: map[int]context.CancelFunc{}, came: map[int]func(){},
	}
}

func (s *stage) client(n int) *linearize.Client {
	if s.clients[n] == nil {
		s.clients[n] = s.recorder.Client()
	}
	return s.clients[n]
}

// begin has a client acquire; it returns when that has returned, or waits for something.
func (s *stage) begin(n int, session string) { s.beginWith(context.Background(), n, session) }

func (s *stage) beginWith(ctx context.Context, n int, session string) {
	c := s.client(n)
	c.Call(linearize.Request{Kind: linearize.Acquire, Session: session, Ended: ctx.Err() != nil})
	ctx, s.cancels[n] = context.WithCancel(ctx)
	go func() {
		lease, err := s.p.AcquireSession(ctx, pool.SessionID(session))
		s.mu.Lock()
		defer s.mu.Unlock()
		s.came[n] = func() { s.answer(n, lease, err) }
	}()
	synctest.Wait()
	s.mu.Lock()
	waits := s.came[n] == nil
	s.mu.Unlock()
	if waits {
		c.Parked()
	}
	s.rest()
}

// rest waits until nobody moves, and takes down what has returned, client after client: so
// that goroutines which run at once do not decide on the order.
func (s *stage) rest() {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range slices.Sorted(maps.Keys(s.came)) {
		s.came[n]()
	}
	clear(s.came)
}

func (s *stage) answer(n int, lease broken.Lease[int], err error) {
	a := linearize.Answer{Outcome: linearize.OutcomeOf(err)}
	if err == nil {
		a.Worker, a.Token, a.Fresh = uint64(lease.WorkerID()), uint64(lease.Token()), lease.Fresh()
		s.leases[n] = lease
	}
	s.taken[n] = s.client(n).Return(a)
}

// acquire is begin, and time for a start.
func (s *stage) acquire(n int, session string) {
	s.begin(n, session)
	s.pass(2 * time.Millisecond)
}

func (s *stage) try(n int) {
	s.client(n).Call(linearize.Request{Kind: linearize.Try})
	lease, err := s.p.TryAcquire()
	s.answer(n, lease, err)
}

func (s *stage) pass(d time.Duration) {
	time.Sleep(d)
	s.rest()
}

func (s *stage) giveUp(n int) {
	s.cancels[n]()
	s.rest()
}

func (s *stage) release(n int) {
	s.client(n).Call(linearize.Request{Kind: linearize.Release, Lease: s.taken[n]})
	s.leases[n].Release()
	s.client(n).Return(linearize.Answer{Outcome: linearize.Done})
	s.rest()
}

// again is a second release, which is none that a pool serves: it is not recorded.
func (s *stage) again(n int) {
	defer func() { _ = recover() }()
	s.leases[n].Release()
}

// closeLater closes the pool by a front that answers at once and passes the call on a
// millisecond later.
func (s *stage) closeLater(n int) {
	s.client(n).Call(linearize.Request{Kind: linearize.Close})
	go func() {
		time.Sleep(time.Millisecond)
		_ = s.p.Close()
	}()
	s.client(n).Return(linearize.Answer{Outcome: linearize.Done})
}

func (s *stage) resize(n, most int) {
	s.client(n).Call(linearize.Request{Kind: linearize.Resize, Max: most})
	s.client(n).Return(done(s.p.Resize(0, most)))
	s.rest()
}

func done(err error) linearize.Answer {
	if err != nil {
		return linearize.Answer{Outcome: linearize.Failed}
	}
	return linearize.Answer{Outcome: linearize.Done}
}

// story is what clients do to a broken pool, and what a pool that is not promises.
type story struct {
	name    string // begins with the rule that is broken
	fault   broken.Fault
	pool    pool.Config[int]
	promise linearize.Config
	play    func(s *stage)
}

func stories() []story {
	size := func(n int) pool.Config[int] { return pool.Config[int]{MaxSize: n, MinSize: n} }
	lazy := func(n int) pool.Config[int] { return pool.Config[int]{MaxSize: n} }
	with := func(cfg pool.Config[int], mode pool.Affinity) pool.Config[int] {
		cfg.Affinity = mode
		return cfg
	}
	told := linearize.Config{Fresh: true, Ends: true}
	return []story{
		{"I1-recorded-double-grant", broken.DoubleReleaseFrees, size(2), linearize.Config{}, func(s *stage) {
			s.acquire(1, "")
			s.acquire(2, "")
			s.release(1)
			s.acquire(3, "")
			s.again(1)
			s.acquire(4, "")
		}},
		{"I1-recorded-late-effect-of-unknown", broken.DoubleReleaseFrees, size(2), linearize.Config{}, func(s *stage) {
			s.acquire(1, "")
			s.acquire(2, "")
			s.client(1).Call(linearize.Request{Kind: linearize.Release, Lease: s.taken[1]})
			s.leases[1].Release() // whose answer nobody hears
			s.acquire(3, "")
			s.again(1) // it takes effect once more
			s.acquire(4, "")
		}},
		{"I2-recorded-over-capacity", broken.ShrinkIgnoredAtRelease, size(2), linearize.Config{}, func(s *stage) {
			s.acquire(1, "")
			s.acquire(2, "")
			s.resize(3, 1)
			s.release(1)
			s.acquire(1, "")
		}},
		{"I3-recorded-retired-granted", broken.RetiredIdleGranted, size(1), linearize.Config{}, func(s *stage) {
			s.acquire(1, "")
			id := s.leases[1].WorkerID()
			s.release(1)
			s.client(1).Call(linearize.Request{Kind: linearize.Retire, Worker: uint64(id)})
			s.p.Retire(id, context.Canceled)
			s.client(1).Return(linearize.Answer{Outcome: linearize.Done})
			s.acquire(2, "")
		}},
		{"I5-recorded-refused-though-free", broken.CancelLeaksSlot, size(1), linearize.Config{FullOnly: true}, func(s *stage) {
			s.acquire(1, "")
			s.begin(2, "")
			s.giveUp(2)
			s.release(1)
			s.pass(time.Millisecond)
			s.try(3)
		}},
		{"I6-recorded-grant-to-cancelled", broken.DoneContextTakes, size(1), linearize.Config{}, func(s *stage) {
			s.pass(2 * time.Millisecond)
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			s.beginWith(ctx, 1, "")
		}},
		{"I7-recorded-out-of-order", broken.NewestFirst, size(1), linearize.Config{FIFO: true}, func(s *stage) {
			s.acquire(1, "")
			s.begin(2, "")
			s.begin(3, "")
			s.release(1)
			s.release(3)
		}},
		{"I8-recorded-lost-binding", broken.BusySessionMoves, with(size(2), pool.Strict), told, func(s *stage) {
			s.acquire(1, "a")
			s.acquire(2, "a")
		}},
		{"I8-recorded-bound-twice", broken.FirstCallsBindTwice, with(lazy(2), pool.Strict), told, func(s *stage) {
			s.begin(1, "a")
			s.begin(2, "a")
			s.begin(3, "")
			s.pass(2 * time.Millisecond)
			s.release(1)
			s.pass(2 * time.Millisecond)
		}},
		{"I8-recorded-prefer-ignored", broken.PreferAlwaysMoves, with(size(2), pool.Prefer), linearize.Config{Fresh: true, Ends: true, FullOnly: true}, func(s *stage) {
			s.acquire(1, "a")
			s.release(1)
			s.acquire(1, "a")
		}},
		{"I13-recorded-grant-after-close", broken.None, size(1), linearize.Config{CloseWaits: true, NoneAfter: true}, func(s *stage) {
			s.pass(2 * time.Millisecond)
			s.closeLater(1)
			s.begin(2, "")
		}},
	}
}

// TestBrokenPools: pools that are broken leave the histories in testdata, each of which is
// illegal for the rule in its name.
func TestBrokenPools(t *testing.T) {
	for _, s := range stories() {
		t.Run(s.name, func(t *testing.T) {
			var h *linearize.History
			synctest.Test(t, func(t *testing.T) {
				at := newStage(t, &s)
				s.play(at)
				h = at.recorder.History()
				for n := range at.leases {
					at.again(n)
				}
				for _, cancel := range at.cancels {
					cancel()
				}
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				_ = at.p.Shutdown(ctx)
				at.pass(2 * time.Millisecond) // for starts, and a late close
			})
			v := linearize.Judge(t.Context(), h, linearize.Budget{})
			if rule, _, _ := strings.Cut(s.name, "-"); v.Result != linearize.Illegal || v.Rule != rule {
				t.Errorf("%s, want %s broken: %v", &v, rule, h.Ops)
			}
			var got bytes.Buffer
			if err := linearize.Write(&got, h); err != nil {
				t.Fatal(err)
			}
			name := filepath.Join("..", "..", "testdata", "histories", "bad", s.name+".jsonl")
			if *update {
				if err := os.WriteFile(name, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("not the history in %s: if that is meant, run with -update\n%s", name, got.Bytes())
			}
		})
	}
}

package broken

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// A script is a random sequence of operations on a Pool whose hooks behave at random,
// all of it a function of the seed; everything comes to rest after each operation. Its
// trace says what could be seen from outside.
type script struct {
	p     *Pool[pool.WorkerID]
	rand  *rand.Rand
	seed  uint64
	needs Needs

	mu     sync.Mutex
	step   []string
	calls  map[string]int
	leases []Lease[pool.WorkerID]
	old    []Lease[pool.WorkerID] // released
	cancel []context.CancelFunc
}

func (s *script) log(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step = append(s.step, fmt.Sprintf(format, args...))
}

// hook plays one call of a hook. Its length and outcome depend on seed, worker and
// count alone, and no two calls last equally long.
func (s *script) hook(ctx context.Context, name string, id pool.WorkerID, limit time.Duration, fails, panics bool) error {
	s.mu.Lock()
	key := fmt.Sprint(name, id)
	s.calls[key]++
	n := s.calls[key]
	s.mu.Unlock()
	r := rand.New(rand.NewPCG(s.seed, uint64(id)*1000+uint64(n)*10+uint64(len(name))))
	s.log("%s %d begins", name, id)
	length := time.Duration(r.IntN(4)) * limit / 5
	if r.IntN(8) == 0 {
		length = 2 * limit
	}
	length += time.Duration(r.IntN(1e6)) + 1
	obeys, roll := r.IntN(4) > 0, r.IntN(100)
	var ended error
	if obeys {
		select {
		case <-time.After(length):
		case <-ctx.Done():
			time.Sleep(length % 1e6) // the pool's own timers first
			ended = ctx.Err()
		}
	} else {
		time.Sleep(length)
	}
	s.log("%s %d ends after %v", name, id, length)
	switch {
	case panics && roll < 15:
		panic("planned")
	case fails && roll < 50:
		return errors.New("planned")
	}
	return ended
}

func (s *script) config(r *rand.Rand) pool.Config[pool.WorkerID] {
	n := s.needs
	unless := func(needed bool) bool { return needed || r.IntN(3) == 0 }
	cfg := pool.Config[pool.WorkerID]{
		MaxSize: max(n.MaxSize, 1+r.IntN(4)), StartConcurrency: max(n.Parallel, 1+r.IntN(4)),
		Rand: func() float64 { return 0.25 }, HealthCheckFailures: max(n.Failures, 1+r.IntN(2)),
		StartTimeout: 1007 * time.Millisecond, StopTimeout: 1013 * time.Millisecond, HealthCheckTimeout: 509 * time.Millisecond,
		Affinity: pool.Affinity(r.IntN(3)),
	}
	if len(n.Affinities) > 0 {
		cfg.Affinity = n.Affinities[r.IntN(len(n.Affinities))]
	}
	if n.Storm {
		cfg.StartConcurrency = 1
	}
	if unless(n.MinSize) {
		cfg.MinSize = 1 + r.IntN(cfg.MaxSize)
	}
	if n.MinSize && n.MaxSize > 1 {
		cfg.MinSize = cfg.MaxSize
	}
	set := func(field *time.Duration, needed bool, value time.Duration) {
		if unless(needed) {
			*field = value
		}
	}
	set(&cfg.AcquireTimeout, n.AcquireTimeout, 3001*time.Millisecond)
	set(&cfg.MaxIdleTime, n.MaxIdleTime, 5003*time.Millisecond)
	set(&cfg.SessionTTL, n.SessionTTL || n.MaxLifetime || n.MaxLeases, 4007*time.Millisecond)
	if cfg.SessionTTL > 0 || cfg.Affinity != pool.Strict {
		set(&cfg.MaxLifetime, n.MaxLifetime, 9001*time.Millisecond)
		if unless(n.MaxLeases) {
			cfg.MaxLeases = 1 + r.IntN(4)
		}
	}
	if unless(n.MaxWaiters) {
		cfg.MaxWaiters = 1 + r.IntN(2)
	}
	if unless(n.MaxSessions) {
		cfg.MaxSessions = 2 + r.IntN(3)
	}
	if r.IntN(4) == 0 {
		cfg.MaxSessionsPerWorker = 1 + r.IntN(2)
	}
	cfg.Start = func(ctx context.Context, id pool.WorkerID) (pool.WorkerID, error) {
		return id, s.hook(ctx, "start", id, cfg.StartTimeout, n.StartFails, n.Panics)
	}
	cfg.Stop = func(ctx context.Context, id pool.WorkerID, _ error) error {
		return s.hook(ctx, "stop", id, cfg.StopTimeout, false, n.Panics)
	}
	if unless(n.Check) {
		cfg.HealthCheckPeriod = 1511 * time.Millisecond
		cfg.Check = func(ctx context.Context, id pool.WorkerID) error {
			return s.hook(ctx, "check", id, cfg.HealthCheckTimeout, n.CheckFails, n.Panics)
		}
	}
	if unless(n.SessionEnded) {
		cfg.SessionEnded = func(ctx context.Context, id pool.WorkerID, ended pool.SessionID) error {
			return s.hook(ctx, "tell "+string(ended), id, cfg.HealthCheckTimeout, false, n.Panics)
		}
	}
	if unless(n.Usable) {
		cfg.Usable = func(id pool.WorkerID) bool { return id%2 == 0 }
	}
	return cfg
}

// pick takes a random element out of list.
func pick[E any](s *script, list *[]E) (e E, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(*list) == 0 {
		return e, false
	}
	i := s.rand.IntN(len(*list))
	e = (*list)[i]
	*list = slices.Delete(*list, i, i+1)
	return e, true
}

func (s *script) acquire(id pool.SessionID) {
	ctx, cancel := context.WithCancel(context.Background())
	if s.rand.IntN(10) == 0 {
		cancel()
	}
	s.cancel = append(s.cancel, cancel)
	go func() { s.acquired("acquire", id)(s.p.AcquireSession(ctx, id)) }()
}

func (s *script) acquired(op string, id pool.SessionID) func(l Lease[pool.WorkerID], err error) {
	return func(l Lease[pool.WorkerID], err error) {
		if err != nil {
			s.log("%s %q: %v", op, id, err)
			return
		}
		s.log("%s %q: worker %d token %d fresh %t", op, id, l.WorkerID(), l.Token(), l.Fresh())
		s.mu.Lock()
		defer s.mu.Unlock()
		s.leases = append(s.leases, l)
		slices.SortFunc(s.leases, func(a, b Lease[pool.WorkerID]) int { return int(a.Token()) - int(b.Token()) })
	}
}

func (s *script) release(l Lease[pool.WorkerID], discard bool) {
	defer func() { s.log("release %d: %v", l.Token(), recover()) }()
	if discard {
		l.Discard(errors.New("discarded"))
	} else {
		l.Release()
	}
}

func (s *script) op() {
	r, id := s.rand, pool.SessionID("")
	if s.needs.Sessions || r.IntN(2) == 0 {
		id = pool.SessionID([]string{"", "a", "b", "c", "d"}[r.IntN(5)])
	}
	switch k := r.IntN(32); {
	case k < 10:
		s.acquire(id)
	case k < 12:
		s.acquired("try", id)(s.p.TryAcquireSession(id))
	case k < 19:
		if l, ok := pick(s, &s.leases); ok {
			s.old = append(s.old, l)
			s.release(l, k == 12)
		}
	case k == 19:
		if len(s.old) > 0 {
			s.release(s.old[len(s.old)-1], false)
		}
	case k < 22:
		if cancel, ok := pick(s, &s.cancel); ok {
			cancel()
		}
	case k == 22:
		s.p.EndSession(id)
	case k == 23:
		s.p.Retire(s.p.lastID-pool.WorkerID(r.IntN(4)), errors.New("retired"))
	case k == 24 && r.IntN(2) == 0:
		n := 1 + r.IntN(4)
		s.log("resize: %v", s.p.Resize(min(n, s.p.cfg.MinSize), n))
	default:
		time.Sleep(time.Duration(r.IntN(1500))*time.Millisecond + time.Duration(r.IntN(1e6)))
	}
}

// play runs the script of a seed and returns its trace.
func play(t *testing.T, fault Fault, needs Needs, seed uint64) (trace []string) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{rand: rand.New(rand.NewPCG(seed, 1)), seed: seed, needs: needs, calls: map[string]int{}}
		var err error
		if s.p, err = New(s.config(s.rand), fault); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		rest := func(i int) {
			synctest.Wait()
			counts := s.p.Counts()
			s.mu.Lock()
			defer s.mu.Unlock()
			slices.Sort(s.step)
			trace = append(trace, fmt.Sprintf("%d at %v: %s; %+v", i, time.Since(begun), strings.Join(s.step, ", "), counts))
			s.step = nil
		}
		for i := range 60 {
			s.op()
			rest(i)
		}
		ctx, cancel := context.WithCancel(context.Background())
		go func() { s.log("shutdown: %v", s.p.Shutdown(ctx)) }()
		rest(100)
		cancel()
		rest(101)
		for _, cancel := range s.cancel {
			cancel()
		}
		rest(102)
		for _, l := range s.leases {
			s.release(l, false)
		}
		rest(103)
		time.Sleep(time.Minute)
		rest(104)
	})
	return trace
}

// Two runs of one script without faults see the same. Otherwise the next test proves nothing.
func TestScriptsAreDeterministic(t *testing.T) {
	for seed := range uint64(60) {
		needs := Needs{StartFails: seed%2 == 0, CheckFails: seed%3 == 0, Panics: seed%5 == 0}
		a, b := play(t, None, needs, seed), play(t, None, needs, seed)
		for i := range a {
			if a[i] != b[i] {
				t.Fatalf("seed %d: runs of one script differ:\n%s\n%s", seed, a[i], b[i])
			}
		}
	}
}

// Every fault can be seen in a run that has what it needs.
func TestFaultsShow(t *testing.T) {
	for _, info := range Faults() {
		t.Run(info.Name, func(t *testing.T) {
			for seed := range uint64(400) {
				good, bad := play(t, None, info.Needs, seed), play(t, info.Fault, info.Needs, seed)
				for i := range good {
					if good[i] != bad[i] {
						t.Logf("seed %d:\ncorrect %s\nbroken  %s", seed, good[i], bad[i])
						return
					}
				}
			}
			t.Fatal("no script shows the fault")
		})
	}
}

func TestFaultTable(t *testing.T) {
	names := map[string]bool{}
	for _, info := range Faults() {
		if info.Fault == None || names[info.Name] || info.Fault.String() != info.Name {
			t.Errorf("fault %d (%s): duplicate or misnamed", int(info.Fault), info.Name)
		}
		if info.Lesson == "" || info.Rule == "" || info.Text == "" {
			t.Errorf("fault %s: incomplete: %+v", info.Name, info)
		}
		names[info.Name] = true
	}
	if len(names) < 24 {
		t.Errorf("%d faults, want at least 24", len(names))
	}
}

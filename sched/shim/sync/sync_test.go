package sync_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/sched"
	"github.com/poolproof/poolproof/sched/shim/sync"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// everySchedule fails the test if body has a finding under any schedule with up to three
// preemptions.
func everySchedule(t *testing.T, body func(s *sched.Scheduler) error) {
	t.Helper()
	report := sched.Exhaust(t, sched.Options{IdleTimeOnly: true}, 3, 0, body)
	if report.Result != nil {
		t.Errorf("%v\n%v", report.Result.Finding, report.Result.Trace)
	}
	if !report.Complete || report.Runs < 2 {
		t.Errorf("%d schedules, complete %v", report.Runs, report.Complete)
	}
}

// all runs fns as tasks and waits for them.
func all(s *sched.Scheduler, fns ...func()) {
	left := len(fns)
	for _, fn := range fns {
		s.Go("", func() { fn(); left-- })
	}
	s.Until("done", func() bool { return left == 0 })
}

func TestMutex(t *testing.T) {
	everySchedule(t, func(s *sched.Scheduler) error {
		var mu sync.Mutex
		inside, got := 0, 0
		section := func() {
			if inside++; inside > 1 {
				s.Fail(errors.New("two inside"))
			}
			got++
			sched.Point("inside")
			inside--
			mu.Unlock()
		}
		all(s, func() { mu.Lock(); section() }, func() {
			if mu.TryLock() {
				section()
			}
		})
		if got == 0 || !mu.TryLock() {
			return errors.New("it is not free")
		}
		return nil
	})
}

func TestRWMutex(t *testing.T) {
	together := 0
	everySchedule(t, func(s *sched.Scheduler) error {
		var mu sync.RWMutex
		readers, writers := 0, 0
		read := func() {
			mu.RLocker().Lock()
			defer mu.RLocker().Unlock()
			readers++
			sched.Point("reads")
			if writers > 0 {
				s.Fail(errors.New("a reader beside a writer"))
			}
			together = max(together, readers)
			readers--
		}
		all(s, read, read, func() {
			mu.Lock()
			writers++
			sched.Point("writes")
			if readers > 0 || mu.TryRLock() || mu.TryLock() {
				s.Fail(errors.New("a writer is not alone"))
			}
			writers--
			mu.Unlock()
		})
		return nil
	})
	if together != 2 {
		t.Errorf("%d readers together, want 2", together)
	}
}

// A writer that waits keeps new readers out: one who reads twice at the same time is stuck.
func TestRWMutexPrefersWriters(t *testing.T) {
	report := sched.Exhaust(t, sched.Options{IdleTimeOnly: true}, 2, 0, func(s *sched.Scheduler) error {
		var mu sync.RWMutex
		twice := func() {
			mu.RLock()
			defer mu.RUnlock()
			mu.RLock()
			defer mu.RUnlock()
		}
		all(s, twice, func() {
			mu.Lock()
			defer mu.Unlock()
		})
		return nil
	})
	if report.Result == nil || report.Result.Finding.Kind != sched.Stuck || report.Result.Preemptions != 1 {
		t.Errorf("got %+v, want stuck with one preemption", report.Result)
	}
}

func TestCondAndGroup(t *testing.T) {
	everySchedule(t, func(s *sched.Scheduler) error {
		var mu sync.Mutex
		var wg sync.WaitGroup
		c := sync.NewCond(&mu)
		n := 0
		for range 2 {
			wg.Go(func() {
				mu.Lock()
				defer mu.Unlock()
				for n == 0 {
					c.Wait()
				}
				n--
			})
		}
		mu.Lock()
		n++
		c.Signal()
		mu.Unlock()
		mu.Lock()
		n++
		c.Broadcast()
		mu.Unlock()
		wg.Wait()
		if n != 0 {
			return fmt.Errorf("n = %d, want 0", n)
		}
		return nil
	})
}

func TestOnce(t *testing.T) {
	everySchedule(t, func(s *sched.Scheduler) error {
		n := 0
		value := sync.OnceValue(func() int { sched.Point("once"); n++; return n })
		get := func() {
			if got := value(); got != 1 {
				s.Fail(fmt.Errorf("got %d", got))
			}
		}
		all(s, get, get)
		return nil
	})
}

func TestMapAndPool(t *testing.T) {
	everySchedule(t, func(s *sched.Scheduler) error {
		var m sync.Map
		p := sync.Pool{New: func() any { return new(int) }}
		loaded := 0
		keys := []*int{new(int), new(int), new(int)}
		store := func() {
			x := p.Get()
			if _, was := m.LoadOrStore("k", x); was {
				loaded++
			}
			p.Put(x)
		}
		all(s, store, store)
		for _, key := range keys {
			m.Store(key, true)
		}
		var seen []any
		m.Range(func(key, _ any) bool { seen = append(seen, key); return true })
		if loaded != 1 || len(seen) != 4 || seen[0] != keys[0] || seen[1] != keys[1] || seen[2] != keys[2] {
			return fmt.Errorf("loaded %d, keys in another order than they came: %v", loaded, len(seen))
		}
		return nil
	})
}

// What is put in one run does not turn up in another.
func TestPoolsForgetOtherRuns(t *testing.T) {
	var p sync.Pool
	for range 2 {
		r := sched.Test(t, sched.Options{Strategy: sched.NewReplay(nil)}, func(*sched.Scheduler) error {
			if x := p.Get(); x != nil {
				return errors.New("it is from elsewhere")
			}
			p.Put(make(chan int))
			if x := p.Get(); x == nil {
				return errors.New("it is lost")
			}
			p.Put(make(chan int))
			return nil
		})
		if r.Finding != nil {
			t.Error(r.Finding)
		}
	}
}

func TestMisuseIsAFinding(t *testing.T) {
	for want, misuse := range map[string]func(){
		"unlock of unlocked mutex":    func() { new(sync.Mutex).Unlock() },
		"Unlock of unlocked RWMutex":  func() { new(sync.RWMutex).Unlock() },
		"RUnlock of unlocked RWMutex": func() { new(sync.RWMutex).RUnlock() },
		"negative WaitGroup counter":  func() { new(sync.WaitGroup).Done() },
	} {
		r := sched.Test(t, sched.Options{Strategy: sched.NewReplay(nil)}, func(*sched.Scheduler) error {
			misuse()
			return nil
		})
		if r.Finding == nil || r.Finding.Kind != sched.Panicked || !strings.Contains(r.Finding.Message, want) {
			t.Errorf("got %v, want a panic: %s", r.Finding, want)
		}
	}
}

// Outside a run the types are real ones: goroutines run at the same time and block.
func TestOutsideARun(t *testing.T) {
	var (
		mu     sync.Mutex
		rw     sync.RWMutex
		wg     sync.WaitGroup
		once   sync.Once
		m      sync.Map
		p      = sync.Pool{New: func() any { return 0 }}
		c      = sync.NewCond(&mu)
		n, ran int
		go_    bool
	)
	for i := range 8 {
		wg.Go(func() {
			mu.Lock()
			for !go_ {
				c.Wait()
			}
			mu.Unlock()
			for range 1000 {
				mu.Lock()
				n++
				mu.Unlock()
				rw.RLock()
				_ = ran
				rw.RUnlock()
				if rw.TryRLock() {
					rw.RUnlock()
				}
				if rw.TryLock() {
					rw.Unlock()
				}
				once.Do(func() { rw.Lock(); ran++; rw.Unlock() })
				p.Put(p.Get())
				m.Store(i, i)
			}
		})
	}
	mu.Lock()
	go_ = true
	c.Broadcast()
	c.Signal()
	mu.Unlock()
	done := make(chan bool)
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("it hangs")
	}
	keys := 0
	m.Range(func(_, _ any) bool { keys++; return true })
	if n != 8000 || ran != 1 || keys != 8 {
		t.Errorf("n = %d, ran = %d, keys = %d; want 8000, 1, 8", n, ran, keys)
	}
}

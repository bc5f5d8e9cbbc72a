package sched

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

// Watchdog watches runs by the clock on the wall: a goroutine that computes for ever, or
// waits in a way that is not durable in a bubble, keeps a run from getting on, and no code
// in the bubble can do anything about that. It lives outside, and serves any number of
// runs, concurrent ones too.
type Watchdog struct {
	limit  time.Duration
	onHang func(Hang)
	quit   chan struct{}
	done   chan struct{}

	mu   sync.Mutex
	runs map[*Scheduler]watched // guarded by mu
}

// watched is what is known of a run.
type watched struct {
	beat  int64
	since time.Time
}

// Hang is a run that does not get on.
type Hang struct {
	Limit    time.Duration
	Schedule Schedule // up to where it hangs
	Trace    string
	Stacks   string // of all goroutines of the program
}

// Error returns the finding.
func (h Hang) Error() string {
	return fmt.Sprintf("hangs: no step for %v; a goroutine computes, or waits for something other than time, a channel or "+
		"a gate\nschedule: %s\n%s\n%s", h.Limit, h.Schedule, h.Trace, h.Stacks)
}

// hangs is the exit code of a program that a hang has ended.
const hangs = 2

// NewWatchdog starts a watchdog, outside any bubble: a run that takes no step for limit
// hangs. onHang is called once for such a run, in the watchdog's goroutine. A bubble that
// hangs cannot be ended, so if onHang is nil the finding goes to standard error and the
// program ends with exit code 2. Close must be called in the end.
func NewWatchdog(limit time.Duration, onHang func(Hang)) *Watchdog {
	if onHang == nil {
		onHang = func(h Hang) {
			fmt.Fprintln(os.Stderr, "sched: "+h.Error())
			os.Exit(hangs)
		}
	}
	w := &Watchdog{
		limit: limit, onHang: onHang, quit: make(chan struct{}), done: make(chan struct{}), runs: map[*Scheduler]watched{},
	}
	go w.loop()
	return w
}

// Close ends the watchdog; it returns when its goroutine has ended. It must not be called
// by onHang.
func (w *Watchdog) Close() {
	close(w.quit)
	<-w.done
}

// looks is how often, within its limit, the watchdog looks at a run.
const looks = 8

func (w *Watchdog) loop() {
	defer close(w.done)
	ticker := time.NewTicker(max(w.limit/looks, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-w.quit:
			return
		case <-ticker.C:
			for _, s := range w.hung(time.Now()) {
				w.onHang(s.hang(w.limit))
			}
		}
	}
}

// hung returns the runs that have just proved to hang.
func (w *Watchdog) hung(now time.Time) []*Scheduler {
	w.mu.Lock()
	defer w.mu.Unlock()
	var hung []*Scheduler
	for s, known := range w.runs {
		switch beat := s.beat.Load(); {
		case beat != known.beat || known.since.IsZero():
			w.runs[s] = watched{beat, now}
		case now.Sub(known.since) >= w.limit:
			hung = append(hung, s)
			delete(w.runs, s)
		}
	}
	return hung
}

// watch begins to watch a run; the function that it returns ends that.
func (w *Watchdog) watch(s *Scheduler) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs[s] = watched{} // the bubble's clock is not the watchdog's
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.runs, s)
	}
}

// hang describes a run that hangs.
func (s *Scheduler) hang(limit time.Duration) Hang {
	h := Hang{Limit: limit, Stacks: allStacks()}
	// The goroutine that hangs may hold the lock, if it hangs in a condition.
	if s.mu.TryLock() {
		defer s.mu.Unlock()
		h.Schedule = s.schedule
		h.Trace = s.traceLocked().String()
	}
	return h
}

// allStacks returns the stacks of all goroutines.
func allStacks() string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) || len(buf) >= 64<<20 {
			return string(buf[:n])
		}
		buf = make([]byte, 2*len(buf))
	}
}

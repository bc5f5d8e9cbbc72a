package faults

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// Load says how a system is called. The calls are open loop: each has an intended time,
// which does not depend on those before it, and its latency counts from that.
type Load struct {
	Rate float64 // calls a second
	// Rise is by how many calls a second the rate is higher at the end of the harm than at
	// its beginning, on a straight line. It must not be set where Profile is.
	Rise float64
	// Profile is what the rate is multiplied by during the harm: the first at its
	// beginning, the last at its end, the others at equal distances in between, and on
	// straight lines from one to the next. Empty: 1.
	Profile      []float64
	Sessions     int           // how many there are
	SessionShare float64       // of the calls are for one of them, from 0 to 1
	Timeout      time.Duration // of each call, waiting included; 0: 5 s
	Work         time.Duration // how long each call holds its worker beyond what it does
	MaxInFlight  int           // calls under way at once; more are refused by the load itself, which is a finding; 0: 10,000
}

func (l Load) withDefaults() Load {
	if l.Timeout == 0 {
		l.Timeout = 5 * time.Second
	}
	if l.MaxInFlight == 0 {
		l.MaxInFlight = 10_000
	}
	return l
}

// complaints says what is wrong with a load.
func (l *Load) complaints() (all []error) {
	complain := func(bad bool, format string, args ...any) {
		if bad {
			all = append(all, fmt.Errorf("faults: Load."+format, args...))
		}
	}
	complain(!(l.Rate > 0 && l.Rate <= mostRate), "Rate is %v; it must be more than 0 and at most %v", l.Rate, float64(mostRate))
	complain(!(l.Rate+l.Rise > 0 && l.Rate+l.Rise <= mostRate), "Rise is %v; the rate at the end must be more than 0 and at most %v", l.Rise, float64(mostRate))
	complain(l.Rise != 0 && len(l.Profile) > 0, "Rise and Profile are both set; it must be one of them")
	for i, f := range l.Profile {
		complain(!(f > 0 && f*l.Rate <= mostRate), "Profile[%d] is %v; it must be more than 0, and the rate at most %v", i, f, float64(mostRate))
	}
	complain(!(l.SessionShare >= 0 && l.SessionShare <= 1), "SessionShare is %v; it must be from 0 to 1", l.SessionShare)
	complain(l.Sessions < 0, "Sessions is %d; it must not be negative", l.Sessions)
	complain(l.SessionShare > 0 && l.Sessions == 0, "SessionShare is %v and Sessions is 0; there must be some", l.SessionShare)
	complain(l.Timeout < 0, "Timeout is %v; it must not be negative", l.Timeout)
	complain(l.Work < 0, "Work is %v; it must not be negative", l.Work)
	complain(l.MaxInFlight < 0, "MaxInFlight is %d; it must not be negative", l.MaxInFlight)
	return all
}

// mostRate bounds the calls a second.
const mostRate = 100_000

// ramp is a rate that changes on straight lines.
type ramp struct {
	rates  []float64 // at equal distances in time; at least two
	during time.Duration
}

// ramp returns the rate during the harm.
func (l *Load) ramp(during time.Duration) ramp {
	if len(l.Profile) == 0 {
		return ramp{[]float64{l.Rate, l.Rate + l.Rise}, during}
	}
	p := ramp{during: during}
	for _, f := range l.Profile {
		p.rates = append(p.rates, f*l.Rate)
	}
	if len(p.rates) == 1 {
		p.rates = append(p.rates, p.rates[0])
	}
	return p
}

// level returns the rate that is always the same.
func (l *Load) level(during time.Duration) ramp {
	return ramp{[]float64{l.Rate, l.Rate}, during}
}

// due returns when the n-th call is due, from 0: where the integral of the rate is n. It is
// its end if the call does not come up in its time.
func (p ramp) due(n int) time.Duration {
	left := float64(n)
	part := p.during.Seconds() / float64(len(p.rates)-1)
	for i := range len(p.rates) - 1 {
		from, to := p.rates[i], p.rates[i+1]
		if area := (from + to) / 2 * part; left >= area {
			left -= area
			continue
		}
		var t float64
		if left > 0 {
			slope := (to - from) / part
			t = 2 * left / (from + math.Sqrt(from*from+2*slope*left))
		}
		return min(p.during, time.Duration((float64(i)*part+t)*float64(time.Second)))
	}
	return p.during
}

// loader makes the calls of a load.
type loader struct {
	sys    *System
	load   Load
	ctx    context.Context // of all calls
	rand   *rand.Rand      // guarded by drawing
	flight atomic.Int64
	calls  sync.WaitGroup

	drawing  sync.Mutex
	mu       sync.Mutex
	sessions map[pool.SessionID]*story // guarded by mu
	done     []Call                    // guarded by mu
	issued   int                       // guarded by mu
	tally    Tally                     // guarded by mu: of done
	wrongs   []string                  // guarded by mu: the first few answers that were wrong
}

func newLoader(ctx context.Context, sys *System, load Load, seed uint64) *loader {
	return &loader{
		sys: sys, load: load, ctx: ctx, rand: rand.New(rand.NewPCG(seed, 1)),
		sessions: make(map[pool.SessionID]*story),
	}
}

// run makes calls from now on. It returns when the last one was begun and its time
// is over, or when ctx ends.
func (l *loader) run(ctx context.Context, p ramp) {
	begin := l.sys.now()
	for n := 0; ; n++ {
		at := p.due(n)
		if !pause(ctx, begin+at-l.sys.now()) || at >= p.during {
			return
		}
		l.issue(begin + at)
	}
}

// issue begins a call that the load draws.
func (l *loader) issue(intended time.Duration) {
	var id pool.SessionID
	l.drawing.Lock()
	if l.load.Sessions > 0 && l.rand.Float64() < l.load.SessionShare {
		id = pool.SessionID(fmt.Sprint("s", l.rand.IntN(l.load.Sessions)))
	}
	l.drawing.Unlock()
	l.begin(id, intended)
}

// burst begins n calls at once.
func (l *loader) burst(n int) {
	now := l.sys.now()
	for range n {
		l.issue(now)
	}
}

// begin begins a call.
func (l *loader) begin(id pool.SessionID, intended time.Duration) {
	l.drawing.Lock()
	nonce := l.rand.Uint64() >> 12
	l.drawing.Unlock()
	l.mu.Lock()
	number := l.issued
	l.issued++
	l.mu.Unlock()
	c := Call{Number: number, Intended: intended, Session: id}
	if l.flight.Add(1) > int64(l.load.MaxInFlight) {
		l.flight.Add(-1)
		c.Latency, c.Result = l.sys.now()-intended, Overrun
		l.end(c)
		return
	}
	l.calls.Go(func() {
		defer l.flight.Add(-1)
		c.Worker, c.Result = l.call(id, nonce)
		c.Latency = l.sys.now() - intended
		l.end(c)
	})
}

func (l *loader) end(c Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done = append(l.done, c)
	l.tally[c.Result]++
}

// begun returns how many calls were begun.
func (l *loader) begun() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.issued
}

// answered returns how many calls were answered.
func (l *loader) answered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.done)
}

// steady says that the calls are answered as fast as they come: no more are under way than
// come in a tenth of a second, and one for each worker.
func (l *loader) steady() bool {
	return float64(l.flight.Load()) <= l.load.Rate/10+float64(l.sys.size)
}

// drain waits until every call is answered, at most by so much longer than the time of a
// call, and returns how many are not.
func (l *loader) drain(late time.Duration) (unanswered int64) {
	over := make(chan struct{})
	go func() {
		l.calls.Wait()
		close(over)
	}()
	timer := time.NewTimer(l.load.Timeout + l.load.Work + late)
	defer timer.Stop()
	select {
	case <-over:
		return 0
	case <-timer.C:
		return l.flight.Load()
	}
}

// settle calls each session once, so that one that was lost is told so.
func (l *loader) settle() {
	for _, id := range l.known() {
		l.begin(id, l.sys.now())
	}
}

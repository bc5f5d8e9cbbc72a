package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// The kinds of faults of starts.
const (
	startExit  = "start-exit"       // exits before hello, with exitCode
	startHang  = "start-hang"       // hangs before hello until healed
	startSlow  = "start-slow"       // takes delay= longer
	startFlood = "start-flood"      // prints lines= lines, and exits
	startCrash = "start-crash-loop" // says hello and dies
)

// exitCode is what a start ends with that is made to fail.
const exitCode = 93

// errStart is why the start of a fake failed.
var errStart = errors.New("faults: the start is made to fail")

// starts knows the faults that wait for the starts of a system.
type starts struct {
	layer Layer
	gate  gate

	mu       sync.Mutex
	waiting  []*startFault               // guarded by mu: in the order of their injection
	watchers map[chan startNews]struct{} // guarded by mu
}

// startNews is how a start went, or that a worker was found dead.
type startNews struct {
	worker pool.WorkerID
	pid    int       // of a worker that said hello
	at     time.Time // that was noticed
	met    *startFault
	err    error
}

// startFault is what the next starts will meet.
type startFault struct {
	kind  string
	left  int           // guarded by starts.mu: starts that it is for; negative: until healed
	delay time.Duration // of startSlow
	over  chan struct{} // closed when it is healed
}

func newStarts(layer Layer) *starts {
	return &starts{layer: layer, watchers: make(map[chan startNews]struct{})}
}

// startKit are the faults of starts. With n= (1) they are for the next so many starts, with
// n=0 for all until they are healed. Processes are started by a gate, which does what is
// to be done before the worker's program runs, in the same process. Seen: what the start
// came to, by the gate's process; see startFault.proof and gateFault.proof.
func startKit() Kit {
	kit := make(Kit)
	for _, kind := range []string{startExit, startHang, startSlow, startFlood, startCrash} {
		kit[kind] = InjectorFunc(func(_ context.Context, v *Victim) (*Injury, error) { return v.System.starts.inject(kind, v) })
	}
	return kit
}

// inject has the next starts meet a fault.
func (s *starts) inject(kind string, v *Victim) (*Injury, error) {
	n, err := v.Options.Int("n", 1)
	if err != nil {
		return nil, err
	}
	delay, err := v.Options.Duration("delay", 250*time.Millisecond)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		return nil, fmt.Errorf("option n is %d; it must not be negative", n)
	}
	f := &startFault{kind: kind, left: int(n), delay: delay, over: make(chan struct{})}
	if n == 0 {
		f.left = -1
	}
	switch {
	case s.layer == Process && kind != startCrash:
		return s.injectAtGate(f, v.Options)
	case s.layer == Wire, kind == startFlood:
		return nil, fmt.Errorf("it is not for starts on the layer %q", s.layer)
	}
	news := s.watch()
	s.mu.Lock()
	s.waiting = append(s.waiting, f)
	s.mu.Unlock()
	return &Injury{
		Landed: func(ctx context.Context) (string, error) { return f.proof(ctx, news) },
		Heal: func(context.Context) error {
			s.mu.Lock()
			s.waiting = slices.DeleteFunc(s.waiting, func(w *startFault) bool { return w == f })
			s.mu.Unlock()
			s.unwatch(news)
			close(f.over)
			return nil
		},
	}, nil
}

// proof waits until a start has met f, and for what it came to.
func (f *startFault) proof(ctx context.Context, news <-chan startNews) (string, error) {
	var met *startNews
	for {
		select {
		case n := <-news:
			if n.met == f && met == nil {
				met = &n
			}
			if met == nil || n.worker != met.worker {
				continue
			}
			switch {
			case f.kind == startHang:
				return fmt.Sprintf("worker %d hangs in its start", n.worker), nil
			case f.kind == startSlow && n.met == nil && n.err == nil:
				if took := n.at.Sub(met.at); took >= f.delay {
					return fmt.Sprintf("worker %d said hello after %v", n.worker, took), nil
				}
			case f.kind == startExit && errors.Is(n.err, errStart):
				return fmt.Sprintf("the start of worker %d failed: %v", n.worker, n.err), nil
			case f.kind == startCrash && n.err != nil && deathOf(n.err):
				return fmt.Sprintf("worker %d said hello and died: %v", n.worker, n.err), nil
			}
		case <-ctx.Done():
			if met != nil {
				return "", fmt.Errorf("worker %d met it, but nothing came of that", met.worker)
			}
			return "", errors.New("no start has met it")
		}
	}
}

// deathOf says that a worker died as startCrash has it.
func deathOf(err error) bool {
	var exit *process.ExitError
	return errors.Is(err, errKilled) || errors.As(err, &exit) && exit.Kind == process.ExitSignal
}

// take returns the fault that a start meets at a moment of it, or nil.
func (s *starts) take(id pool.WorkerID, atHello bool) *startFault {
	s.mu.Lock()
	i := slices.IndexFunc(s.waiting, func(f *startFault) bool { return f.left != 0 && (f.kind == startCrash) == atHello })
	if i < 0 {
		s.mu.Unlock()
		return nil
	}
	f := s.waiting[i]
	if f.left > 0 {
		f.left--
	}
	s.mu.Unlock()
	s.tell(startNews{worker: id, at: time.Now(), met: f})
	return f
}

// meet has the start of a fake meet its fault.
func (s *starts) meet(ctx context.Context, id pool.WorkerID) error {
	f := s.take(id, false)
	if f == nil {
		return nil
	}
	wait := (<-chan time.Time)(nil)
	switch f.kind {
	case startExit:
		return errStart
	case startSlow:
		timer := time.NewTimer(f.delay)
		defer timer.Stop()
		wait = timer.C
	}
	select {
	case <-wait:
	case <-f.over:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// hello notes that a worker has said hello, and has it die if it is to.
func (s *starts) hello(w Worker) {
	n := startNews{worker: w.ID(), at: time.Now()}
	p, isProcess := w.(*process.Worker)
	if isProcess {
		n.pid = p.PID()
	}
	s.tell(n)
	if s.take(w.ID(), true) == nil {
		return
	}
	if f, ok := w.(*fake); ok {
		f.kill(errKilled)
	} else if err := crash(p); err != nil {
		s.tell(startNews{worker: w.ID(), at: time.Now(), err: err})
	}
}

// observe notes what the pool reports of starts and ends.
func (s *starts) observe(e pool.Event) {
	switch e.Kind {
	case pool.WorkerStartFailed, pool.WorkerStopping, pool.WorkerStopped:
		if e.Err != nil {
			s.tell(startNews{worker: e.Worker, at: time.Now(), err: e.Err})
		}
	}
}

// watch returns a channel of all news from now on. What is not taken in time is dropped.
func (s *starts) watch() chan startNews {
	s.mu.Lock()
	defer s.mu.Unlock()
	news := make(chan startNews, 256)
	s.watchers[news] = struct{}{}
	return news
}

func (s *starts) unwatch(news chan startNews) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watchers, news)
}

func (s *starts) tell(n startNews) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for news := range s.watchers {
		select {
		case news <- n:
		default:
		}
	}
}

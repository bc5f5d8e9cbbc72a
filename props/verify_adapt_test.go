package props

import (
	"context"
	"errors"
	"flag"
	"runtime"
	"sync"
	"testing"
	"time"
)

// workerPool is a task pool: a fixed number of goroutines and an unbounded queue.
type workerPool struct {
	mu      sync.Mutex
	cond    *sync.Cond
	queue   []func()
	stopped bool
	wg      sync.WaitGroup
	goexit  bool // a task that calls Goexit takes its worker along
}

func newWorkerPool(size int) *workerPool {
	p := &workerPool{}
	p.cond = sync.NewCond(&p.mu)
	for range size {
		p.wg.Go(p.work)
	}
	return p
}

func (p *workerPool) submit(_ context.Context, task func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return errTinyClosed
	}
	p.queue = append(p.queue, task)
	p.cond.Signal()
	return nil
}

func (p *workerPool) work() {
	for {
		p.mu.Lock()
		for len(p.queue) == 0 && !p.stopped {
			p.cond.Wait()
		}
		if len(p.queue) == 0 {
			p.mu.Unlock()
			return
		}
		task := p.queue[0]
		p.queue = p.queue[1:]
		p.mu.Unlock()
		if !p.goexit {
			ended := make(chan struct{})
			go func() { // a worker outlives whatever its task does
				defer close(ended)
				defer func() { _ = recover() }()
				task()
			}()
			<-ended
			continue
		}
		func() {
			defer func() { _ = recover() }()
			task()
		}()
	}
}

func (p *workerPool) stop() {
	p.mu.Lock()
	p.stopped = true
	p.cond.Broadcast()
	p.mu.Unlock()
	p.wg.Wait()
}

func taskTarget(goexit bool) Target {
	return Target{
		Name: "tasks", Capacity: 2, Spec: Spec{FIFO: true, HookPanics: true, CloseWaits: true},
		Open: func(env *Env) (Pool, error) {
			p := newWorkerPool(2)
			p.goexit = goexit
			return FromTasks(env, p.submit, p.stop), nil
		},
	}
}

// FromTasks: a correct task pool passes; one whose workers die of Goexit is caught.
func TestFromTasks(t *testing.T) {
	Verify(t, taskTarget(false))
	if t.Failed() {
		return
	}
	f, _, _ := hunt(t, taskTarget(true), 10)
	if f == nil || f.violation.Rule != "I5" || len(f.ops) > 3 {
		t.Fatalf("a worker lost to Goexit: got %+v, want I5 in at most 3 lines", f)
	}
}

// FromCalls: the channel pool behind a function.
func TestFromCalls(t *testing.T) {
	Verify(t, Target{
		Name: "calls", Capacity: 2, Spec: Spec{HookPanics: true},
		Open: func(env *Env) (Pool, error) {
			p := newChanPool(env, 2)
			call := func(ctx context.Context, body func(*Resource)) error {
				l, err := p.Acquire(ctx)
				if err != nil {
					return err
				}
				defer l.Release()
				body(l.Resource())
				return nil
			}
			return FromCalls(call, func() { _ = p.Close() }), nil
		},
	})
}

// A call that returns nil without having run its body is an error.
func TestFromCallsNotRun(t *testing.T) {
	p := FromCalls(func(context.Context, func(*Resource)) error { return nil }, func() {})
	if _, err := p.Acquire(context.Background()); !errors.Is(err, errGenNotRun) {
		t.Fatalf("got %v, want %v", err, errGenNotRun)
	}
	p = FromCalls(func(context.Context, func(*Resource)) error { runtime.Goexit(); return nil }, func() {})
	if _, err := p.Acquire(context.Background()); err == nil {
		t.Fatal("a call that ends with Goexit: got no error")
	}
}

// lockPool calls its hooks under its lock, which no bubble survives once one is gated.
type lockPool struct {
	mu     sync.Mutex
	idle   []*Resource
	slots  chan struct{}
	env    *Env
	closed bool
}

func (p *lockPool) Acquire(ctx context.Context) (Lease, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		<-p.slots
		return nil, errTinyClosed
	}
	if n := len(p.idle); n > 0 {
		r := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return lockLease{p, r}, nil
	}
	r, err := p.env.Create(ctx)
	if err != nil {
		<-p.slots
		return nil, err
	}
	return lockLease{p, r}, nil
}

func (p *lockPool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, r := range p.idle {
		p.env.Destroy(r)
	}
	p.idle = nil
	return nil
}

type lockLease struct {
	p *lockPool
	r *Resource
}

func (l lockLease) Resource() *Resource { return l.r }

func (l lockLease) Release() {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if l.p.closed {
		l.p.env.Destroy(l.r)
	} else {
		l.p.idle = append(l.p.idle, l.r)
	}
	<-l.p.slots
}

// A pool that holds a lock while a hook runs hangs a bubble, which is no fault of its
// own: it is found out and checked in real time.
func TestUnfitForBubbles(t *testing.T) {
	fewChecks(t)
	v := newGenVerifier(t, Target{
		Name: "locked", Capacity: 2,
		Open: func(env *Env) (Pool, error) { return &lockPool{env: env, slots: make(chan struct{}, 2)}, nil },
	})
	v.hang = time.Second // a bubble that hangs does so for ever, and one that is slow is taken for one: no loss here
	v.verify(t)
	if !v.target.RealTime {
		t.Error("checked in a bubble to the end")
	}
}

// fewChecks has the rest of the test do what real time allows, however deep the others go.
func fewChecks(t *testing.T) {
	f := flag.Lookup("rapid.checks")
	asked := f.Value.String()
	t.Cleanup(func() { _ = f.Value.Set(asked) })
	if err := f.Value.Set("200"); err != nil {
		t.Fatal(err)
	}
}

// In real time a correct pool passes and a broken one is caught.
func TestRealTime(t *testing.T) {
	fewChecks(t)
	good := tinyTarget(2, tinyCorrect)
	good.RealTime = true
	Verify(t, good)
	bad := tinyTarget(2, tinyResizeSleeps)
	bad.RealTime, bad.Patience = true, 200*time.Millisecond
	v := newGenVerifier(t, bad)
	script := "c1 acquire\nc2 acquire\nc3 acquire\nc4 resize 3"
	parsed, err := parseScript(script)
	if err != nil {
		t.Fatal(err)
	}
	var f *genFinding
	for try := 0; try < 10 && f == nil; try++ { // rests are guessed: the growth may come before the waiter
		f, _ = v.run(t, replayOps(parsed.ops))
	}
	if f == nil || f.violation.Rule != "I5" {
		t.Fatalf("growth that wakes nobody, in real time: got %+v, want I5", f)
	}
}

package recorded

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/pool"
)

// Pool is a pool whose calls are taken down. Its methods are those of pool.Pool, may be
// called concurrently, and do what these do.
type Pool[T any] struct {
	*pool.Pool[T] // for Ready and Stat, which change nothing
	calls
}

// calls is what takes down the calls of one pool.
type calls struct {
	recorder *linearize.Recorder
	keeper   *Keeper
	judge    func(*linearize.History) *Failure

	begun atomic.Uint64 // the last worker of whose start the Observer was told

	mu     sync.Mutex
	idle   []*linearize.Client // guarded by mu
	judged bool                // guarded by mu
	found  error               // guarded by mu; once judged
}

// Open opens a pool that is recorded: open is given cfg with the recorder's Observer, which
// passes everything on to the one that cfg has. When t ends, after the cleanups that were
// registered later than this, the history is judged, and t fails if it is not Ok, which an
// unknown verdict is not. Everything that changes the pool must go through the Pool.
func Open[T any](t testing.TB, cfg pool.Config[T], open func(pool.Config[T]) (*pool.Pool[T], error)) (*Pool[T], error) {
	t.Helper()
	p, err := OpenWith(NewKeeper(t), t.Name(), cfg, open)
	if err != nil {
		return nil, err
	}
	p.judge = p.keeper.Judge
	t.Cleanup(func() {
		if p.mayJudge() {
			if err := p.Judge(); err != nil {
				t.Errorf("%v", err)
			}
		}
	})
	return p, nil
}

// OpenWith is Open for those who open many pools in one test: nothing happens when it ends,
// they call Judge, and a history is written as Keeper.Sift does.
func OpenWith[T any](k *Keeper, name string, cfg pool.Config[T], open func(pool.Config[T]) (*pool.Pool[T], error)) (*Pool[T], error) {
	p, err := Take(name, cfg, open)
	if err != nil {
		return nil, err
	}
	p.keeper, p.judge = k, k.Sift
	return p, nil
}

// Take is Open for those who are no test: nobody judges but them, by History.
func Take[T any](name string, cfg pool.Config[T], open func(pool.Config[T]) (*pool.Pool[T], error)) (*Pool[T], error) {
	p := &Pool[T]{calls: calls{
		// Time stands still in a bubble, and a process takes so long that a shared counter
		// costs nothing.
		recorder: linearize.NewRecorder(linearize.RecorderConfig{Head: head(name, &cfg), Ordered: true}),
	}}
	told, observe := cfg.Observer, p.recorder.Observe
	cfg.Observer = func(e pool.Event) {
		observe(e)
		if e.Kind == pool.WorkerStarting {
			p.start(uint64(e.Worker))
		}
		if told != nil {
			told(e)
		}
	}
	var err error
	if p.Pool, err = open(cfg); err != nil {
		return nil, err
	}
	if p.Pool == nil {
		return nil, errNoPool
	}
	return p, nil
}

// drift is by how much stamps that are all different run ahead of a clock that stands still.
const drift = time.Millisecond

// head says what a pool of package pool promises, as far as histories can show it.
func head[T any](name string, cfg *pool.Config[T]) linearize.Head {
	c := linearize.Config{
		Capacity: cfg.MaxSize, Affinity: linearize.Strict + linearize.Affinity(cfg.Affinity-pool.Strict),
		FIFO: true, MaxWaiters: cfg.MaxWaiters, CloseWaits: true, NoneAfter: true, Fresh: true, Ends: true,
	}
	if cfg.SessionTTL > 0 {
		c.SessionTTL, c.Slack = max(1, cfg.SessionTTL-drift), 2*drift
	}
	return linearize.Head{Pool: name, Replay: "go test -run '^" + name + "$'", Config: c}
}

// start notes that a worker was begun.
func (c *calls) start(worker uint64) {
	for last := c.begun.Load(); last < worker && !c.begun.CompareAndSwap(last, worker); last = c.begun.Load() {
	}
}

func (c *calls) mayJudge() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.judged
}

// Judge ends the recording and judges it; later calls return the same. The error names the
// rule, and the files that were written. It need not be called: the end of the test does it,
// unless somebody has, who is then the one to report it.
func (p *Pool[T]) Judge() error {
	Told(p.Pool.Stat)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.judged {
		p.judged = true
		if f := p.judge(p.recorder.History()); f != nil {
			p.found = fmt.Errorf("%w\n%s", f, p.keeper.Keep(f))
		}
	}
	return p.found
}

// History ends the recording, once the Observer has been told of every change, and returns
// what was recorded. It must not be called where Judge is.
func (p *Pool[T]) History() *linearize.History {
	Told(p.Pool.Stat)
	return p.recorder.History()
}

// Fault takes down that a fault is about to be injected, into the worker unless that is 0.
func (p *Pool[T]) Fault(kind string, worker pool.WorkerID) *linearize.OpenFault {
	return p.recorder.Fault(kind, uint64(worker))
}

// toldWithin bounds the wait of Told.
const toldWithin = 10 * time.Second

// Told waits until a pool's Observer has been told of every change so far, which a history
// that is judged must have: a pool tells without its lock, and may do so late. It gives up
// after ten seconds.
func Told(stat func() pool.Stat) {
	for left := toldWithin; stat().Telling > 0 && left > 0; left -= time.Millisecond {
		time.Sleep(time.Millisecond)
	}
}

// begin takes down that a call begins, and returns whose it is.
func (c *calls) begin(q linearize.Request) *linearize.Client {
	c.mu.Lock()
	var who *linearize.Client
	if n := len(c.idle); n > 0 {
		who, c.idle = c.idle[n-1], c.idle[:n-1]
	}
	c.mu.Unlock()
	if who == nil {
		who = c.recorder.Client()
	}
	who.Call(q)
	return who
}

// end takes down that it has returned. A call that panics stays without an answer.
func (c *calls) end(who *linearize.Client, a linearize.Answer) linearize.Lease {
	lease := who.Return(a)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = append(c.idle, who)
	return lease
}

// do takes down a call that always returns, or panics.
func (c *calls) do(q linearize.Request, call func()) {
	who := c.begin(q)
	call()
	c.end(who, linearize.Answer{Outcome: linearize.Done})
}

// acquired takes down what an acquire returned.
func (p *Pool[T]) acquired(ctx context.Context, who *linearize.Client, lease pool.Lease[T], err error) (pool.Lease[T], error) {
	if err != nil {
		a := linearize.Answer{Outcome: linearize.OutcomeOf(err)}
		if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
			a.Outcome = linearize.Cancelled // whatever the cause is
		}
		p.end(who, a)
		return lease, err
	}
	l := p.end(who, linearize.Answer{
		Outcome: linearize.Granted, Worker: uint64(lease.WorkerID()), Token: uint64(lease.Token()), Fresh: lease.Fresh(),
	})
	var ended atomic.Bool
	return lease.Through(func(cause error, end func()) {
		if ended.Swap(true) {
			end() // which panics: the call is none that a pool serves
			return
		}
		kind := linearize.Release
		if cause != nil {
			kind = linearize.Discard
		}
		p.do(linearize.Request{Kind: kind, Lease: l}, end)
	}), nil
}

// Acquire is pool.Pool's.
func (p *Pool[T]) Acquire(ctx context.Context) (pool.Lease[T], error) {
	who := p.begin(linearize.Request{Kind: linearize.Acquire, Ended: ctx.Err() != nil})
	lease, err := p.Pool.Acquire(ctx)
	return p.acquired(ctx, who, lease, err)
}

// AcquireSession is pool.Pool's.
func (p *Pool[T]) AcquireSession(ctx context.Context, id pool.SessionID) (pool.Lease[T], error) {
	who := p.begin(linearize.Request{Kind: linearize.Acquire, Session: string(id), Ended: ctx.Err() != nil})
	lease, err := p.Pool.AcquireSession(ctx, id)
	return p.acquired(ctx, who, lease, err)
}

// TryAcquire is pool.Pool's.
func (p *Pool[T]) TryAcquire() (pool.Lease[T], error) { return p.TryAcquireSession("") }

// TryAcquireSession is pool.Pool's.
func (p *Pool[T]) TryAcquireSession(id pool.SessionID) (pool.Lease[T], error) {
	who := p.begin(linearize.Request{Kind: linearize.Try, Session: string(id)})
	lease, err := p.Pool.TryAcquireSession(id)
	return p.acquired(context.Background(), who, lease, err)
}

// Do is pool.Pool's: an acquire, and the end of its lease.
func (p *Pool[T]) Do(ctx context.Context, id pool.SessionID, f func(ctx context.Context, worker T) error) error {
	lease, err := p.AcquireSession(ctx, id)
	if err != nil {
		return err
	}
	return lease.Do(ctx, f)
}

// EndSession is pool.Pool's.
func (p *Pool[T]) EndSession(id pool.SessionID) {
	p.do(linearize.Request{Kind: linearize.EndSession, Session: string(id)}, func() { p.Pool.EndSession(id) })
}

// Retire is pool.Pool's. One of a worker that has not been begun, which does nothing, is
// not taken down: it would seem to end the worker that gets that number later.
func (p *Pool[T]) Retire(id pool.WorkerID, cause error) {
	if uint64(id) > p.begun.Load() {
		p.Pool.Retire(id, cause)
		return
	}
	p.do(linearize.Request{Kind: linearize.Retire, Worker: uint64(id)}, func() { p.Pool.Retire(id, cause) })
}

// Resize is pool.Pool's.
func (p *Pool[T]) Resize(minSize, maxSize int) error {
	who := p.begin(linearize.Request{Kind: linearize.Resize, Max: max(1, maxSize)})
	err := p.Pool.Resize(minSize, maxSize)
	a := linearize.Answer{Outcome: linearize.Done}
	if err != nil {
		a.Outcome = linearize.Failed
	}
	p.end(who, a)
	return err
}

// Close is pool.Pool's.
func (p *Pool[T]) Close() (err error) {
	p.do(linearize.Request{Kind: linearize.Close}, func() { err = p.Pool.Close() })
	return err
}

// Shutdown is pool.Pool's.
func (p *Pool[T]) Shutdown(ctx context.Context) (err error) {
	p.do(linearize.Request{Kind: linearize.Shutdown}, func() { err = p.Pool.Shutdown(ctx) })
	return err
}

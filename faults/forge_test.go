package faults

import (
	"context"
	"errors"
	"sync"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest/broken"
)

// brokenFront is a pool of package broken, of which every call is taken down.
type brokenFront struct {
	*broken.Pool[Worker]
	recorder *linearize.Recorder

	mu   sync.Mutex
	idle []*linearize.Client // guarded by mu
}

// breaking returns a forge of pools that are wrong in one way.
func breaking(fault broken.Fault) func(pool.Config[Worker]) (front, error) {
	return func(cfg pool.Config[Worker]) (front, error) {
		cfg.Observer = nil
		p, err := broken.New(cfg, fault)
		if err != nil {
			return nil, err
		}
		return &brokenFront{Pool: p, recorder: linearize.NewRecorder(linearize.RecorderConfig{
			Ordered: true,
			Head: linearize.Head{Pool: "broken: " + fault.String(), Config: linearize.Config{
				Capacity: cfg.MaxSize, Affinity: linearize.Strict + linearize.Affinity(cfg.Affinity-pool.Strict), Fresh: true,
			}},
		})}, nil
	}
}

func (f *brokenFront) take(q linearize.Request) *linearize.Client {
	f.mu.Lock()
	defer f.mu.Unlock()
	var c *linearize.Client
	if n := len(f.idle); n > 0 {
		c, f.idle = f.idle[n-1], f.idle[:n-1]
	} else {
		c = f.recorder.Client()
	}
	c.Call(q)
	return c
}

func (f *brokenFront) give(c *linearize.Client, a linearize.Answer) linearize.Lease {
	l := c.Return(a)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idle = append(f.idle, c)
	return l
}

func (f *brokenFront) acquire(ctx context.Context, id pool.SessionID) (lease, error) {
	c := f.take(linearize.Request{Kind: linearize.Acquire, Session: string(id), Ended: ctx.Err() != nil})
	l, err := f.AcquireSession(ctx, id)
	if err != nil {
		f.give(c, linearize.Answer{Outcome: linearize.OutcomeOf(err)})
		return nil, err
	}
	taken := f.give(c, linearize.Answer{
		Outcome: linearize.Granted, Worker: uint64(l.WorkerID()), Token: uint64(l.Token()), Fresh: l.Fresh(),
	})
	return &brokenLease{l, f, taken}, nil
}

func (f *brokenFront) EndSession(id pool.SessionID) {
	c := f.take(linearize.Request{Kind: linearize.EndSession, Session: string(id)})
	f.Pool.EndSession(id)
	f.give(c, linearize.Answer{Outcome: linearize.Done})
}

func (f *brokenFront) Retire(id pool.WorkerID, cause error) {
	c := f.take(linearize.Request{Kind: linearize.Retire, Worker: uint64(id)})
	f.Pool.Retire(id, cause)
	f.give(c, linearize.Answer{Outcome: linearize.Done})
}

func (f *brokenFront) History() *linearize.History { return f.recorder.History() }

func (f *brokenFront) Fault(kind string, worker pool.WorkerID) *linearize.OpenFault {
	return f.recorder.Fault(kind, uint64(worker))
}

type brokenLease struct {
	broken.Lease[Worker]
	f     *brokenFront
	taken linearize.Lease
}

func (l *brokenLease) Release() {
	c := l.f.take(linearize.Request{Kind: linearize.Release, Lease: l.taken})
	l.Lease.Release()
	l.f.give(c, linearize.Answer{Outcome: linearize.Done})
}

func (l *brokenLease) Discard(cause error) {
	c := l.f.take(linearize.Request{Kind: linearize.Discard, Lease: l.taken})
	l.Lease.Discard(cause)
	l.f.give(c, linearize.Answer{Outcome: linearize.Done})
}

// tampered is a sound pool behind somebody who tampers with what passes.
type tampered struct {
	front
	acquired func(front front, ctx context.Context, id pool.SessionID) (lease, error)
	config   func(cfg *pool.Config[Worker])
}

// forge returns a forge of it.
func (m tampered) forge(cfg pool.Config[Worker]) (front, error) {
	if m.config != nil {
		m.config(&cfg)
	}
	p, err := recorded.Take("tampered", cfg, pool.New[Worker])
	if err != nil {
		return nil, err
	}
	m.front = recordedFront{p}
	return m, nil
}

func (m tampered) acquire(ctx context.Context, id pool.SessionID) (lease, error) {
	if m.acquired == nil {
		return m.front.acquire(ctx, id)
	}
	return m.acquired(m.front, ctx, id)
}

// rebind binds a session anew that is lost, and does not say so.
func rebind(f front, ctx context.Context, id pool.SessionID) (lease, error) {
	l, err := f.acquire(ctx, id)
	if errors.Is(err, pool.ErrSessionLost) {
		f.EndSession(id)
		return f.acquire(ctx, id)
	}
	return l, err
}

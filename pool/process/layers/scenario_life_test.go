package layers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
	"github.com/poolproof/poolproof/pool/process"
)

// item is the params of put, and of get without a value.
func item(session string, value any) object {
	o := object{"session": session, "key": "k"}
	if value != nil {
		o["value"] = value
	}
	return o
}

// afterLoss says what becomes of a session whose worker is gone.
func (c *crew) afterLoss(session pool.SessionID) {
	get := func(m member) { c.st.call(m, "get", item(string(session), nil)) }
	c.with(session, get)
	c.with(session, get)
	c.EndSession(session)
	c.with(session, get)
}

// full says whether so many workers can be held at once, and answer.
func (c *crew) full(n int) {
	ctx, cancel := c.st.context()
	defer cancel()
	held := make([]pool.Lease[member], 0, n)
	defer func() {
		for _, l := range held {
			l.Release()
		}
	}()
	for range n {
		l, err := c.Acquire(ctx)
		if err != nil {
			c.st.say("%d workers of %d: %s", len(held), n, kind(err))
			return
		}
		held = append(held, l)
		if err := l.Worker().Call(ctx, "echo", object{}, nil); err != nil {
			c.st.say("one of %d workers: %s", n, kind(err))
		}
	}
	c.st.say("%d workers at once", n)
}

func crash(st *stage) {
	for _, affinity := range []pool.Affinity{pool.Strict, pool.Sticky, pool.Prefer} {
		st.say("%v", affinity)
		c := st.open(func(o *opening) { o.pool.Affinity = affinity })
		c.with("s", func(m member) { st.call(m, "put", item("s", "v")) })
		c.with("s", func(m member) { st.call(m, "get", item("s", nil)) })
		c.with("s", func(m member) {
			st.call(m, "crash", object{"code": 3})
			st.say("  usable: %v", m.Usable())
			st.call(m, "get", item("s", nil))
		})
		c.afterLoss("s")
	}
}

func killIdle(st *stage) {
	c := st.open(func(o *opening) { o.pool.MaxSize = 2 })
	var victim member
	c.with("s", func(m member) {
		victim = m
		st.call(m, "put", item("s", "v"))
	})
	victim.kill()
	c.await(1, "the pool to stop the worker", kindIs(pool.WorkerStopping))
	c.afterLoss("s")
	c.full(2)
}

func killLeased(st *stage) {
	c := st.open(func(o *opening) { o.pool.Affinity = pool.Sticky })
	c.with("s", func(m member) {
		st.call(m, "put", item("s", "v"))
		m.kill()
		st.poll("the worker is known to be gone", func() bool { return !m.Usable() })
		st.call(m, "get", item("s", nil))
	})
	c.afterLoss("s")
}

func exits(st *stage) {
	c := st.usual()
	show := func(err error) {
		var exit *process.ExitError
		if !errors.As(err, &exit) {
			st.say("  no ExitError: %v", err)
			return
		}
		st.say("  %v, code %d, signal %d", exit.Kind, exit.Code, exit.Signal)
	}
	ctx, cancel := st.context()
	defer cancel()
	for _, code := range []int{0, 3} {
		c.with("", func(m member) { show(m.Call(ctx, "crash", object{"code": code}, nil)) })
	}
	c.with("", func(m member) {
		m.kill()
		st.poll("the worker is known to be gone", func() bool { return !m.Usable() })
		show(m.Call(ctx, "echo", object{}, nil))
	})
}

func sessionEnd(st *stage) {
	c := st.usual()
	for _, session := range []string{"s", "t"} {
		c.with(pool.SessionID(session), func(m member) { st.call(m, "put", item(session, session)) })
	}
	c.EndSession("s")
	c.with("", func(m member) {
		st.call(m, "get", item("s", nil))
		st.call(m, "get", item("t", nil))
	})
	c.with("s", func(m member) { st.call(m, "get", item("s", nil)) })
	c.with("t", func(m member) { st.call(m, "get", item("t", nil)) })
}

func sessionTTL(st *stage) {
	c := st.open(func(o *opening) { o.pool.SessionTTL = 20 * time.Millisecond })
	c.with("s", func(m member) { st.call(m, "put", item("s", "v")) })
	c.await(1, "the session's end", kindIs(pool.SessionEnded))
	c.with("", func(m member) { st.call(m, "get", item("s", nil)) })
	c.with("s", func(m member) { st.call(m, "get", item("s", nil)) })
	c.await(2, "the session's second end", kindIs(pool.SessionEnded))
	st.say("sessions: %d", c.Stat().Sessions)
}

// sessionsAtOnce has eight sessions write and read back, on three workers.
func sessionsAtOnce(st *stage) {
	const sessions, rounds = 8, 10
	c := st.open(func(o *opening) { o.pool.MaxSize = 3 })
	ctx, cancel := st.context()
	defer cancel()
	together := pooltest.NewBarrier(sessions)
	reports := make([]string, sessions)
	var wg sync.WaitGroup
	for i := range sessions {
		wg.Go(func() { reports[i] = c.session(ctx, fmt.Sprint("s", i), rounds, together) })
	}
	wg.Wait()
	for i, report := range reports {
		st.say("session %d: %s", i, report)
	}
}

// session writes a value and, when all sessions have, reads its own back. It does so as
// many times and reports.
func (c *crew) session(ctx context.Context, name string, rounds int, together *pooltest.Barrier) string {
	fresh, own := 0, 0
	workers := make(map[pool.WorkerID]bool)
	for i := range 2 * rounds {
		if err := together.Wait(ctx); err != nil {
			return kind(err)
		}
		l, err := c.AcquireSession(ctx, pool.SessionID(name))
		if err != nil {
			return kind(err)
		}
		workers[l.WorkerID()] = true
		if l.Fresh() {
			fresh++
		}
		want := fmt.Sprintf("%s-%d", name, i/2)
		var got json.RawMessage
		if i%2 == 0 {
			err = l.Worker().Call(ctx, "put", item(name, want), nil)
		} else {
			err = l.Worker().Call(ctx, "get", item(name, nil), &got)
		}
		l.Release()
		if err != nil {
			return kind(err)
		}
		if string(got) == `"`+want+`"` {
			own++
		}
	}
	return fmt.Sprintf("%d writes read back, on %d worker, fresh %d time", own, len(workers), fresh)
}

func stopIdle(st *stage) {
	c := st.open(nil)
	c.with("s", func(m member) { st.call(m, "put", item("s", "v")) })
	ctx, cancel := st.context()
	defer cancel()
	st.say("stop: %s", kind(c.Shutdown(ctx)))
	c.lease("s")
	c.lease("")
	st.say("again: %s", kind(c.Shutdown(ctx)))
}

// busy has a worker sleep, and returns once the call has it.
func (c *crew) busy(method string, seconds int) (pool.Lease[member], <-chan error) {
	l, ok := c.lease("")
	if !ok {
		c.st.failf("nobody to keep busy")
	}
	ctx, cancel := c.st.context()
	under, result := make(chan struct{}), make(chan error, 1)
	go func() {
		defer cancel()
		result <- l.Worker().Call(ctx, method, tripwire{seconds, func() { close(under) }}, nil)
	}()
	c.st.receive(under, "the call to begin")
	return l, result
}

// receive waits for a channel to be closed.
func (st *stage) receive(closed <-chan struct{}, what string) {
	st.await(what, func() (bool, <-chan struct{}) {
		select {
		case <-closed:
			return true, nil
		default:
			return false, closed
		}
	})
}

func stopBusy(st *stage) {
	c := st.open(nil)
	l, result := c.busy("sleep", forGood)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c.closed = true
	st.say("stop: %s", kind(c.Shutdown(ctx)))
	st.say("the call: %s", kind(<-result))
	st.say("revoked: %v", l.Revoked())
	l.Release()
	c.lease("")
}

func stopKindly(st *stage) {
	c := st.open(nil)
	l, result := c.busy("sleep", 0)
	stopped := make(chan error, 1)
	ctx, cancel := st.context()
	defer cancel()
	go func() { stopped <- c.Shutdown(ctx) }()
	c.await(1, "the stop to begin", kindIs(pool.Closing))
	st.say("the call: %s", kind(<-result))
	select {
	case <-stopped:
		st.say("it did not wait for the lease")
	default:
	}
	l.Release()
	st.say("stop: %s", kind(<-stopped))
}

// order parks three callers one after the other.
func order(st *stage) {
	c := st.usual()
	l, ok := c.lease("")
	if !ok {
		return
	}
	ctx, cancel := st.context()
	defer cancel()
	const callers = 3
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			err := c.Do(ctx, "", func(ctx context.Context, m member) error {
				err := m.Call(ctx, "echo", object{}, nil)
				st.say("caller %d is served: %s", i, kind(err))
				return err
			})
			if err != nil {
				st.say("caller %d: %s", i, kind(err))
			}
		})
		st.poll("the caller is parked", func() bool { return c.Stat().Waiting == i+1 })
	}
	l.Release()
	wg.Wait()
}

func refusals(st *stage) {
	c := st.open(func(o *opening) { o.pool.MaxWaiters, o.pool.MaxSessions = 1, 1 })
	held, ok := c.lease("s")
	if !ok {
		return
	}
	c.lease("t")
	_, err := c.TryAcquire()
	st.say("a try: %s", kind(err))
	ctx, cancel := context.WithCancel(context.Background())
	parked := make(chan error, 1)
	go func() {
		_, err := c.Acquire(ctx)
		parked <- err
	}()
	st.poll("a caller is parked", func() bool { return c.Stat().Waiting == 1 })
	c.lease("")
	cancel()
	st.say("the parked caller: %s", kind(<-parked))
	held.Release()
	c.with("s", func(m member) { st.echoed(m, "afterwards", `{"x":1}`) })
}

func recycling(st *stage) {
	c := st.open(func(o *opening) { o.pool.MaxLeases, o.pool.Affinity = 2, pool.Sticky })
	for range 3 {
		c.with("", func(m member) { st.echoed(m, "echo", `{"x":1}`) })
	}
	c.with("s", func(m member) { st.call(m, "put", item("s", "v")) })
	c.with("s", func(m member) { st.call(m, "get", item("s", nil)) })
}

func healthChecks(st *stage) {
	checked := func(e pool.Event) bool { return e.Kind == pool.CheckEnded && e.Err == nil }
	c := st.open(func(o *opening) {
		o.pool.HealthCheckPeriod, o.pool.HealthCheckTimeout = 5*time.Millisecond, st.patience
	})
	c.with("s", func(m member) { st.call(m, "put", item("s", "v")) })
	c.await(3, "three checks", checked)
	st.say("three checks passed")
	c.with("s", func(m member) { st.call(m, "get", item("s", nil)) })

	st.say("a worker that answers nothing any more")
	c = st.open(func(o *opening) {
		o.pool.HealthCheckPeriod, o.pool.HealthCheckTimeout = 50*time.Millisecond, 50*time.Millisecond
		o.CloseGrace, o.TermGrace = time.Millisecond, time.Millisecond
	})
	l, ok := c.lease("s")
	if !ok {
		return
	}
	first := l.WorkerID()
	l.Worker().freeze()
	l.Release()
	c.await(1, "the frozen worker to be replaced", func(e pool.Event) bool {
		return e.Kind == pool.WorkerStopped && e.Worker == first
	})
	c.lease("s")
	ctx, cancel := st.context()
	defer cancel()
	other, err := c.Acquire(ctx)
	if err != nil {
		st.say("afterwards: %s", kind(err))
		return
	}
	defer other.Release()
	st.say("afterwards: another worker: %v", other.WorkerID() != first)
	st.echoed(other.Worker(), "echo", `{"x":1}`)
}

func failedStarts(st *stage) {
	c := st.open(func(o *opening) {
		o.pool.StartBackoff = pool.Backoff{Min: time.Millisecond, Max: 5 * time.Millisecond}
	})
	c.setHealth(false)
	for range 3 {
		c.lease("s")
	}
	c.setHealth(true)
	ctx, cancel := st.context()
	defer cancel()
	st.poll("a worker starts", func() bool {
		l, err := c.AcquireSession(ctx, "s")
		if err == nil {
			l.Release()
		}
		return err == nil
	})
	st.say("workers start again")
	c.with("s", func(m member) { st.echoed(m, "echo", `{"x":1}`) })
}

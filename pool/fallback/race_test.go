package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/fallback"
	"github.com/poolproof/poolproof/pool/pooltest"
)

// gatedLayer holds what is asked of it until the test opens its gates; nil holds nothing.
type gatedLayer struct {
	*fakeLayer
	before, after atomic.Pointer[pooltest.Gate] // the acquire of a lease
	end, ended    atomic.Pointer[pooltest.Gate] // before and after EndSession
}

func pass(ctx context.Context, gate *atomic.Pointer[pooltest.Gate]) {
	if g := gate.Load(); g != nil {
		_ = g.Pass(ctx)
	}
}

func (l *gatedLayer) AcquireSession(ctx context.Context, id pool.SessionID) (pool.Lease[worker], error) {
	pass(ctx, &l.before)
	lease, err := l.fakeLayer.AcquireSession(ctx, id)
	pass(ctx, &l.after)
	return lease, err
}

func (l *gatedLayer) EndSession(id pool.SessionID) {
	pass(context.Background(), &l.end)
	l.fakeLayer.EndSession(id)
	pass(context.Background(), &l.ended)
}

// newGated returns a gated layer whose pool serves a session's calls at once, each on a
// worker that may be fresh.
func newGated(t *testing.T, name string) *gatedLayer {
	return &gatedLayer{fakeLayer: newLayer(t, name, pool.Config[worker]{MaxSize: 4, Affinity: pool.Prefer})}
}

// outcome is what a call on a goroutine of its own came to.
type outcome struct {
	served fallback.Served
	err    error
}

func begin(ctx context.Context, c *fallback.Chain[worker], id pool.SessionID) <-chan outcome {
	out := make(chan outcome, 1)
	go func() {
		served, err := c.Do(ctx, id, returning(nil))
		out <- outcome{served, err}
	}()
	synctest.Wait()
	return out
}

// nothingLeft fails unless chain and layers have forgotten every session.
func nothingLeft(t *testing.T, c *fallback.Chain[worker], layers ...*gatedLayer) {
	t.Helper()
	if n := c.Entries(); n != 0 {
		t.Errorf("the chain remembers %d sessions, want none", n)
	}
	for _, l := range layers {
		if s := l.Stat(); s.Sessions != 0 || s.Leased != 0 {
			t.Errorf("layer %s has %d sessions and %d leases, want none", l.name, s.Sessions, s.Leased)
		}
	}
}

// L33: of two first calls of a session that reach different layers the first grant binds it,
// and the other call follows.
func TestFirstGrantBindsTheSession(t *testing.T) {
	for _, affinity := range []pool.Affinity{pool.Strict, pool.Sticky, pool.Prefer} {
		t.Run(affinity.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := newGated(t, "A"), newGated(t, "B")
				c := newChain(t, fallback.Config[worker]{Affinity: affinity}, a, b)
				slow := pooltest.NewGate()
				a.after.Store(slow)
				first := begin(t.Context(), c, "s") // has a lease of A, which the chain does not know of yet
				a.after.Store(nil)
				a.set(saturated)
				second := <-begin(t.Context(), c, "s")
				if second.err != nil || second.served.Layer != "B" || second.served.Moved {
					t.Fatalf("the second call: %+v, want layer B, not moved", second)
				}
				slow.Open()
				got := <-first
				if got.err != nil || got.served.Layer != "B" || got.served.Fresh || got.served.Moved || len(got.served.Passed) > 0 {
					t.Errorf("the first call: %+v; want layer B, where the session is", got)
				}
				if want := []string{"A s"}; !slices.Equal(*a.told, want) {
					t.Errorf("told %q, want %q: A must forget the session", *a.told, want)
				}
				c.EndSession("s")
				nothingLeft(t, c, a, b)
			})
		})
	}
}

// A grant from before the end of the session is given back; the call begins anew when the
// pool has been told.
func TestGrantAroundTheEndOfItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Calls of a session take turns in its pool, so that one of them is fresh.
		a := &gatedLayer{fakeLayer: newLayer(t, "A", pool.Config[worker]{MaxSize: 4, Affinity: pool.Sticky})}
		b := newGated(t, "B")
		c := newChain(t, fallback.Config[worker]{}, a, b)
		if first := <-begin(t.Context(), c, "s"); !first.served.Fresh || first.err != nil {
			t.Fatalf("first call: %+v, want fresh", first)
		}
		slow, telling := pooltest.NewGate(), pooltest.NewGate()
		a.after.Store(slow)
		old := begin(t.Context(), c, "s") // has a lease of the old binding
		a.after.Store(nil)
		a.end.Store(telling)
		ended := make(chan struct{})
		go func() { c.EndSession("s"); close(ended) }()
		synctest.Wait()

		ctx, cancel := context.WithCancelCause(t.Context())
		gone := begin(ctx, c, "s") // waits until A is told
		waiting := begin(t.Context(), c, "s")
		cancel(errGone)
		if got := <-gone; !errors.Is(got.err, errGone) {
			t.Errorf("cancelled while A is being told: %+v, want %v", got, errGone)
		}
		slow.Open()
		synctest.Wait()
		if len(old) > 0 || len(waiting) > 0 {
			t.Fatalf("calls went on before A was told of the end")
		}
		telling.Open()
		<-ended
		fresh := 0
		for _, out := range []<-chan outcome{old, waiting} {
			got := <-out
			if got.err != nil || got.served.Layer != "A" {
				t.Errorf("after the end: %+v, want layer A", got)
			}
			if got.served.Fresh {
				fresh++
			}
		}
		if fresh != 1 {
			t.Errorf("%d of the calls after the end were fresh, want 1", fresh)
		}
		c.EndSession("s")
		nothingLeft(t, c, a, b)
	})
}

// A grant which comes between the pool's forgetting the session and the chain's hearing of
// that makes a binding in the pool, of which it must be told once more.
func TestGrantWhileThePoolIsBeingTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newGated(t, "A")
		c := newChain(t, fallback.Config[worker]{}, a)
		<-begin(t.Context(), c, "s")
		slow, telling := pooltest.NewGate(), pooltest.NewGate()
		a.before.Store(slow)
		old := begin(t.Context(), c, "s")
		a.before.Store(nil)
		a.ended.Store(telling)
		ended := make(chan struct{})
		go func() { c.EndSession("s"); close(ended) }()
		synctest.Wait()
		slow.Open()
		synctest.Wait()
		telling.Open()
		<-ended
		if got := <-old; got.err != nil || !got.served.Fresh {
			t.Errorf("after the end: %+v, want a fresh session", got)
		}
		if want := []string{"A s", "A s"}; !slices.Equal(*a.told, want) {
			t.Errorf("told %q, want %q", *a.told, want)
		}
		c.EndSession("s")
		nothingLeft(t, c, a)
	})
}

// A lease of the old binding is given back also when the pool has been told long ago, and
// the session has begun anew.
func TestGrantFromBeforeTheEndIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &gatedLayer{fakeLayer: newLayer(t, "A", pool.Config[worker]{MaxSize: 4, Affinity: pool.Sticky})}
		c := newChain(t, fallback.Config[worker]{}, a)
		<-begin(t.Context(), c, "s")
		slow := pooltest.NewGate()
		a.after.Store(slow)
		old := begin(t.Context(), c, "s")
		a.after.Store(nil)
		c.EndSession("s")
		anew := <-begin(t.Context(), c, "s")
		slow.Open()
		got := <-old
		if !anew.served.Fresh || got.err != nil || got.served.Worker != anew.served.Worker {
			t.Errorf("the session began anew as %+v; the call from before: %+v, want the same worker", anew, got)
		}
		c.EndSession("s")
		nothingLeft(t, c, a)
	})
}

// A grant that is given back leaves a binding in the pool, which another call may be
// granted before the pool is told: whoever is served first is fresh all the same.
func TestSpoiltPlaceIsShut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &gatedLayer{fakeLayer: newLayer(t, "A", pool.Config[worker]{MaxSize: 4, Affinity: pool.Sticky})}
		c := newChain(t, fallback.Config[worker]{}, a)
		<-begin(t.Context(), c, "s")
		first, second := pooltest.NewGate(), pooltest.NewGate()
		a.before.Store(first)
		old := begin(t.Context(), c, "s")
		c.EndSession("s")
		a.before.Store(second)
		anew := begin(t.Context(), c, "s")
		a.before.Store(nil)
		first.Open()
		synctest.Wait()
		if len(old) > 0 {
			t.Errorf("the call from before was served while another one was in: %+v", <-old)
			return
		}
		second.Open()
		outcomes := []outcome{<-old, <-anew}
		slices.SortFunc(outcomes, func(x, y outcome) int { return int(x.served.Token) - int(y.served.Token) })
		for i, got := range outcomes {
			if got.err != nil || got.served.Fresh != (i == 0) || got.served.Worker != outcomes[0].served.Worker {
				t.Errorf("served %+v; want both by one worker, the first fresh", outcomes)
			}
		}
		c.EndSession("s")
		nothingLeft(t, c, a)
	})
}

// The place of a probe that takes too long is given back once: when the probe ends at last,
// another one holds it.
func TestPlaceOfAProbeIsGivenBackOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newGated(t, "A")
		c := newChain(t, fallback.Config[worker]{}, a)
		for range 2 {
			_, _ = c.Do(t.Context(), "", returning(errBroken))
		}
		time.Sleep(time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		first, err := c.Acquire(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		second, err := c.Acquire(t.Context(), "")
		if err != nil {
			t.Fatalf("after the first probe's time: %v", err)
		}
		cancel()
		first.Release()
		if _, err := c.Acquire(t.Context(), ""); !errors.Is(err, fallback.ErrProbesOut) {
			t.Errorf("while a probe is out: %v, want ErrProbesOut", err)
		}
		second.Release()
		if got := c.Stat().Layers[0].State; got != fallback.Closed {
			t.Errorf("after the second probe: %v, want closed", got)
		}
	})
}

// A call that begins while the pool is being told of the session's end comes after it.
func TestCallWaitsWhileThePoolIsBeingTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newGated(t, "A")
		c := newChain(t, fallback.Config[worker]{}, a)
		<-begin(t.Context(), c, "s")
		telling := pooltest.NewGate()
		a.end.Store(telling)
		go c.EndSession("s")
		synctest.Wait()
		first := begin(t.Context(), c, "s")
		if len(first) > 0 {
			t.Errorf("served before the pool was told: %+v", <-first)
		}
		telling.Open()
		if got := <-first; got.err != nil || !got.served.Fresh {
			t.Errorf("the first call after the end: %+v, want fresh", got)
		}
		if got := <-begin(t.Context(), c, "s"); got.err != nil || got.served.Fresh {
			t.Errorf("the second call after the end: %+v, want not fresh", got)
		}
		c.EndSession("s")
		nothingLeft(t, c, a)
	})
}

// A panic of a pool's EndSession keeps nobody waiting.
type explosive struct{ *gatedLayer }

func (l explosive) EndSession(id pool.SessionID) {
	l.gatedLayer.EndSession(id)
	panic("as planned")
}

func TestEndSessionThatPanicsIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newGated(t, "A")
		c := newChain(t, fallback.Config[worker]{}, explosive{a})
		for range 2 {
			if got := <-begin(t.Context(), c, "s"); got.err != nil || !got.served.Fresh {
				t.Errorf("got %+v, want a fresh session", got)
			}
			c.EndSession("s")
		}
		nothingLeft(t, c, a)
	})
}

// A lease is the call, as far as the chain is concerned.
func TestAcquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newGated(t, "A")
		c := newChain(t, fallback.Config[worker]{SessionTTL: time.Minute}, a)
		lease, err := c.Acquire(t.Context(), "s")
		if err != nil {
			t.Fatal(err)
		}
		if s := lease.Served(); s.Layer != "A" || s.Worker != lease.WorkerID() || s.Token != lease.Token() || !s.Fresh || !lease.Fresh() {
			t.Errorf("served %+v, lease of worker %d with token %d", s, lease.WorkerID(), lease.Token())
		}
		time.Sleep(time.Hour)
		if got := c.Stat().Sessions; got != 1 {
			t.Errorf("%d sessions while a lease is out, want 1", got)
		}
		lease.Release()
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a second Release did not panic")
				}
			}()
			lease.Release()
		}()
		time.Sleep(time.Minute - time.Nanosecond)
		if got := c.Entries(); got != 1 {
			t.Errorf("%d sessions just before the time is over, want 1", got)
		}
		time.Sleep(time.Nanosecond)
		c.EndSession("")
		nothingLeft(t, c, a)
	})
}

// Sessions that are never used again leave nothing behind but what the next call removes.
func TestTableIsBoundedByTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newGated(t, "A")
		c := newChain(t, fallback.Config[worker]{SessionTTL: time.Second}, a)
		most := 0
		for i := range 2000 {
			if _, err := c.Do(t.Context(), pool.SessionID(fmt.Sprint(i)), returning(nil)); err != nil {
				t.Fatal(err)
			}
			most = max(most, c.Entries())
			time.Sleep(100 * time.Millisecond)
		}
		if most != 10 {
			t.Errorf("at most %d sessions were remembered; 10 are used in a second", most)
		}
		time.Sleep(time.Second)
		_ = c.Stat()
		nothingLeft(t, c, a)
	})
}

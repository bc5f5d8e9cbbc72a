package linearize

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// play has a client make the calls of one lease.
func play(c *Client, session string, worker, token uint64) {
	c.Call(Request{Kind: Acquire, Session: session})
	lease := c.Return(Answer{Outcome: Granted, Worker: worker, Token: token})
	c.Call(Request{Kind: Release, Lease: lease})
	c.Return(Answer{Outcome: Done})
}

func TestRecorderMergesClientsInOrderOfCalls(t *testing.T) {
	t.Parallel()
	r := NewRecorder(RecorderConfig{Head: Head{Pool: "p", Seed: 3}})
	const clients, rounds = 8, 5000
	var group sync.WaitGroup
	for range clients {
		c := r.Client()
		group.Go(func() {
			for n := range rounds {
				play(c, "s", c.number, uint64(n)+1)
			}
		})
	}
	group.Wait()
	h := r.History()
	if h.Head.Seed != 3 || len(h.Ops) != 2*clients*rounds {
		t.Fatalf("%d ops, want %d", len(h.Ops), 2*clients*rounds)
	}
	for i := range h.Ops {
		o := &h.Ops[i]
		switch {
		case o.ID != i+1, i > 0 && o.Call < h.Ops[i-1].Call, o.Return < o.Call, o.Call < 1:
			t.Fatalf("out of order: %v", o)
		case o.Kind == Acquire && (o.Session != "s" || o.Worker != uint64(o.Client)):
			t.Fatalf("got %v, want worker %d", o, o.Client)
		case o.Kind == Release:
			from := h.Ops[o.Lease-1]
			if from.Client != o.Client || from.Kind != Acquire || from.Return > o.Call || o.Token != from.Token {
				t.Fatalf("%v ends the lease of %v", o, &from)
			}
		}
	}
}

// TestRecorderKeepsUnansweredCalls: a call that has not returned may return while the
// history is being made.
func TestRecorderKeepsUnansweredCalls(t *testing.T) {
	t.Parallel()
	r := NewRecorder(RecorderConfig{})
	late, gaveUp := r.Client(), r.Client()
	late.Call(Request{Kind: Acquire, Session: "a"})
	gaveUp.Call(Request{Kind: Acquire})
	gaveUp.Call(Request{Kind: Try})
	gaveUp.Return(Answer{Outcome: Refused})
	fault := r.Fault("kill", 4)
	fault.Landed(true, "SIGKILL")
	r.Fault("stop", 5)
	var group sync.WaitGroup
	group.Go(func() { late.Return(Answer{Outcome: Granted, Worker: 1}) })
	h := r.History()
	group.Wait()
	late.Call(Request{Kind: Close})
	if len(h.Ops) != 3 || h.Ops[1].Outcome != NoAnswer || h.Ops[1].Return != 0 || h.Ops[2].Outcome != Refused {
		t.Errorf("got %+v", h.Ops)
	}
	if o := h.Ops[0]; o.Outcome == NoAnswer != (o.Return == 0) || o.Outcome == NoAnswer != (o.Worker == 0) {
		t.Errorf("the late call is half there: %+v", o)
	}
	if len(h.Faults) != 2 || !h.Faults[0].Ends || h.Faults[0].Worker != 4 || h.Faults[1].To == 0 {
		t.Errorf("faults: %+v", h.Faults)
	}
}

func TestOrderedStampsDifferWhereTimeStandsStill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := NewRecorder(RecorderConfig{Ordered: true})
		c := r.Client()
		play(c, "", 1, 1)
		time.Sleep(time.Second)
		c.Call(Request{Kind: Acquire})
		c.Parked()
		h := r.History()
		want := []time.Duration{1, 2, 3, 4, time.Second, time.Second + 1}
		got := []time.Duration{h.Ops[0].Call, h.Ops[0].Return, h.Ops[1].Call, h.Ops[1].Return, h.Ops[2].Call, h.Ops[2].Parked}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("stamps %v, want %v", got, want)
			}
		}
	})
}

func TestObserveNumbersGrantsAndReleases(t *testing.T) {
	t.Parallel()
	r := NewRecorder(RecorderConfig{})
	p, err := pool.New(pool.Config[int]{
		Start:   func(context.Context, pool.WorkerID) (int, error) { return 0, nil },
		MinSize: 2, MaxSize: 2, Observer: r.Observe,
	})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		c := r.Client()
		group.Go(func() {
			for range 50 {
				c.Call(Request{Kind: Acquire, Session: "s"})
				lease, err := p.AcquireSession(t.Context(), "s")
				if err != nil {
					c.Return(Answer{Outcome: OutcomeOf(err)})
					continue
				}
				l := c.Return(Answer{Outcome: Granted, Worker: uint64(lease.WorkerID()), Token: uint64(lease.Token()), Fresh: lease.Fresh()})
				c.Call(Request{Kind: Release, Lease: l})
				lease.Release()
				c.Return(Answer{Outcome: Done})
			}
		})
	}
	group.Wait()
	c := r.Client()
	c.Call(Request{Kind: Resize, Max: 3})
	if err := p.Resize(0, 3); err != nil {
		t.Error(err)
	}
	c.Return(Answer{Outcome: Done})
	c.Call(Request{Kind: Close})
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	c.Return(Answer{Outcome: Done})
	h := r.History()
	if len(h.Ops) != 402 {
		t.Fatalf("%d ops, want 402", len(h.Ops))
	}
	for i := range h.Ops {
		if h.Ops[i].Seq == 0 {
			t.Errorf("no number: %v", &h.Ops[i])
		}
	}
	if last := h.Changes[len(h.Changes)-1]; last.Kind != ClosingEnded && last.Kind != WorkerStopped {
		t.Errorf("the last change is %v", last)
	}
}

// TestChangesAreThePools: Observe counts on the two lists of kinds being the same.
func TestChangesAreThePools(t *testing.T) {
	t.Parallel()
	for k := pool.WorkerStarting; k <= pool.Closed; k++ {
		want := strings.ReplaceAll(k.String(), " ", "-")
		want = strings.TrimPrefix(strings.Replace(want, "lease-granted", "granted", 1), "acquire-")
		if got := ChangeKind(k).String(); got != want {
			t.Errorf("kind %d is %q here and %q in package pool", k, got, want)
		}
	}
	if got, want := len(changeNames), int(pool.Closed)+1; got != want {
		t.Errorf("%d kinds of changes, %d in package pool", got-1, want-1)
	}
}

// BenchmarkRecord takes down the call and the return of an acquire or a release. On a busy
// machine the time of the processor, cpu-ns/op, says more than the time that passed.
func BenchmarkRecord(b *testing.B) {
	run := func(b *testing.B, cfg RecorderConfig) {
		const batch = 1 << 20 // one recorder never has more
		b.ReportAllocs()
		defer reportCPU(b)()
		c, n := NewRecorder(cfg).Client(), 0
		for b.Loop() {
			if n++; n == batch {
				c, n = NewRecorder(cfg).Client(), 0
			}
			c.Call(Request{Kind: Acquire, Session: "a"})
			c.Return(Answer{Outcome: Granted, Worker: 1, Token: 1})
		}
	}
	b.Run("clients=1", func(b *testing.B) { run(b, RecorderConfig{}) })
	b.Run("clients=1/ordered", func(b *testing.B) { run(b, RecorderConfig{Ordered: true}) })
	b.Run("clients=2", func(b *testing.B) {
		b.ReportAllocs()
		defer reportCPU(b)()
		b.RunParallel(func(pb *testing.PB) {
			c, n := NewRecorder(RecorderConfig{}).Client(), 0
			for pb.Next() {
				if n++; n == 1<<20 {
					c, n = NewRecorder(RecorderConfig{}).Client(), 0
				}
				c.Call(Request{Kind: Acquire, Session: "a"})
				c.Return(Answer{Outcome: Granted, Worker: 1, Token: 1})
			}
		})
	})
	b.Run("clock", func(b *testing.B) { // what the two stamps cost alone
		r := NewRecorder(RecorderConfig{})
		defer reportCPU(b)()
		for b.Loop() {
			_, _ = r.now(), r.now()
		}
	})
}

// reportCPU returns what reports the processor's time since, by operation.
func reportCPU(b *testing.B) func() {
	before := cpu(b)
	return func() { b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op") }
}

package props

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/pool"
)

// VerifyAffinity holds a pool to what it promises of sessions (I8, and I9 as far as callers
// see it), in a subtest for each affinity. Clients call the same few sessions at once, for
// the first time and later, give up, discard and retire workers, end sessions, and leave
// them alone for longer than their time to live. What they saw is recorded and judged by
// [linearize.VerifyAffinity]; nothing else is, so that what fails is the affinity. A pool
// that is found wrong fails t with the rule, the file of the history, and its page.
//
// A check is one run, in a bubble of testing/synctest: target.Config and target.Report are
// not used, and a backend must be able to live there. The test also fails if sessions were
// not called again, lost, ended or outlived often enough to prove anything.
func VerifyAffinity(t *testing.T, target PoolTarget) {
	for _, mode := range []model.Affinity{model.Strict, model.Sticky, model.Prefer} {
		t.Run(mode.String(), func(t *testing.T) { target.verifySessions(t, mode) })
	}
}

// verifySessions is the subtest of one affinity.
func (t *PoolTarget) verifySessions(tt *testing.T, mode model.Affinity) {
	tt.Helper()
	keeper := recorded.NewKeeper(tt)
	if f := flag.Lookup("rapid.seed"); f != nil && f.Value.String() != "0" {
		keeper.Replay = historyReplay(tt, f.Value.String())
	}
	var did affinityTraffic
	var found error
	checks := 0
	rapid.Check(tt, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		if found != nil || genLate(tt) {
			return
		}
		var history *linearize.History
		left := schedBubble(tt, func() {
			r := newAffinityRun(t, mode, schedMix(seed))
			if found = r.open(); found == nil {
				found = r.play()
				history = r.recorder.History()
			}
		})
		checks++
		if left && found == nil {
			found = errors.New("I13: goroutines remain")
		}
		if found != nil {
			return
		}
		did.add(history)
		if v := linearize.VerifyAffinity(context.Background(), history, linearize.Budget{}); v.Result != linearize.Ok {
			f := &recorded.Failure{History: history, Verdict: v}
			found = fmt.Errorf("%w\n%s", f, keeper.Keep(f))
		}
	})
	if found != nil {
		tt.Fatalf("%s breaks %v", t.Name, found)
	}
	if asked := fullAsked(); checks < asked {
		tt.Errorf("%d checks were executed, want %d", checks, asked)
	}
	tt.Logf("%s: %d checks: %v", t.Name, checks, did)
	did.enough(tt, mode, checks)
}

// affinityTraffic counts what clients did and saw.
type affinityTraffic struct {
	again   int // leases of sessions that had had one
	crossed int // calls of a session while another one of it was under way
	lost    int // calls that were told of a loss
	gone    int // discards and retirements
	ended   int
	outlive int // leases of sessions that had been left alone for longer than their time
}

func (n *affinityTraffic) add(h *linearize.History) {
	last := map[string]time.Duration{}  // until when each session was called
	asked := map[string]time.Duration{} // and by when these calls had returned
	for i := range h.Ops {
		o := &h.Ops[i]
		switch {
		case o.Kind == linearize.EndSession:
			n.ended++
		case o.Kind == linearize.Discard, o.Kind == linearize.Retire:
			n.gone++
		}
		if !o.Acquires() || o.Session == "" {
			continue
		}
		if o.Outcome == linearize.SessionLost {
			n.lost++
		}
		if asked[o.Session] > o.Call {
			n.crossed++
		}
		asked[o.Session] = max(asked[o.Session], o.Return)
		if o.Outcome != linearize.Granted {
			continue
		}
		if at, before := last[o.Session]; before {
			n.again++
			if ttl := h.Head.Config.SessionTTL; ttl > 0 && o.Call-at > ttl {
				n.outlive++
			}
		}
		last[o.Session] = max(last[o.Session], o.Return)
	}
}

func (n affinityTraffic) String() string {
	return fmt.Sprintf("%d leases of sessions that had had one, %d calls across others, %d losses told, %d workers given up, %d ends, %d sessions outlived",
		n.again, n.crossed, n.lost, n.gone, n.ended, n.outlive)
}

// enough fails the test if something that proves the affinity was not done.
func (n affinityTraffic) enough(t *testing.T, mode model.Affinity, checks int) {
	t.Helper()
	least := min(n.again, n.crossed, n.gone, n.ended, n.outlive)
	if mode == model.Strict {
		least = min(least, n.lost)
	}
	if checks >= 50 && least < checks/20 {
		t.Errorf("too little to prove anything: %v", n)
	}
}

// affinityRun is one run. Its clients begin each call at the same moment as others, hold
// workers for some ticks, and run at once in between.
type affinityRun struct {
	fullFactory
	target   *PoolTarget
	subject  Subject
	cfg      *model.Config
	seed     uint64
	recorder *linearize.Recorder
}

const (
	affinityClients  = 4
	affinityOps      = 12
	affinitySessions = 2
	affinityTTL      = 6 // ticks
	affinityTick     = 10 * time.Millisecond
)

func newAffinityRun(target *PoolTarget, mode model.Affinity, seed uint64) *affinityRun {
	rng := rand.New(rand.NewPCG(seed, 0))
	r := &affinityRun{target: target, seed: seed}
	size := 1 + rng.IntN(3)
	r.cfg = &model.Config{
		MinSize: size, MaxSize: size, BackoffMin: 1, BackoffMax: 1, HealthCheckFailures: 1,
		Clients: affinityClients, Affinity: mode,
	}
	if rng.IntN(2) == 0 {
		r.cfg.SessionTTL = affinityTTL
	}
	r.backend = target.Backend
	if r.backend == nil {
		r.backend = fullMemory{}
	}
	r.loose = func(_ context.Context, began model.Event) fullHow {
		if began.Kind == model.EvStartBegun {
			time.Sleep(time.Duration(began.Worker%3) * affinityTick)
		}
		return fullGood
	}
	head := linearize.Head{Pool: target.Name, Seed: seed, Config: historyOf(r.cfg, affinityTick)}
	head.Config.Ends = true                             // hooks succeed, and nothing is checked
	head.Config.FullOnly = mode == model.Prefer         // that a worker is idle is not hidden by a check
	head.Config.MaxWaiters, head.Config.FIFO = 0, false // not the affinity
	r.recorder = linearize.NewRecorder(linearize.RecorderConfig{Head: head, Ordered: true})
	return r
}

func (r *affinityRun) open() error {
	cfg := fullPoolConfig(r.cfg, affinityTick)
	cfg.Start, cfg.Stop, cfg.Usable = r.start, r.stop, r.usable
	if r.seed%2 == 0 { // without an Observer a pool may take short cuts
		cfg.Observer = r.recorder.Observe
	}
	r.books.most = cfg.MaxSize
	var err error
	if r.subject, err = r.target.Open(cfg); err != nil {
		return errors.Join(errFullOpen, err)
	}
	return nil
}

// play lets the clients loose, waits for them, and closes the pool.
func (r *affinityRun) play() error {
	var all sync.WaitGroup
	for i := range affinityClients {
		c := &affinityClient{
			run: r, log: r.recorder.Client(), rng: rand.New(rand.NewPCG(r.seed, uint64(i)+1)),
		}
		all.Go(c.play)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		all.Wait()
	}()
	// A caller that waits for ever is told from one that waits for a worker by time alone,
	// which costs nothing here.
	patience := time.NewTimer(affinityClients * affinityOps * 10 * affinityTTL * affinityTick)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
		_ = r.subject.Shutdown(fullDone())
		return errors.New("I4: a call has not returned, although all leases were given back")
	}
	c := r.recorder.Client()
	c.Call(linearize.Request{Kind: linearize.Close})
	err := r.subject.Close()
	c.Return(linearize.Answer{Outcome: linearize.Done})
	historyTold(r.subject)
	return err
}

// affinityClient is one client.
type affinityClient struct {
	run *affinityRun
	log *linearize.Client
	rng *rand.Rand
}

func (c *affinityClient) play() {
	for range affinityOps {
		time.Sleep(time.Duration(c.rng.IntN(2)) * affinityTick)
		switch c.rng.IntN(16) {
		case 0:
			id := c.session()
			c.log.Call(linearize.Request{Kind: linearize.EndSession, Session: string(id)})
			c.run.subject.EndSession(id)
			c.log.Return(historyDone(nil))
		case 1, 2:
			time.Sleep((affinityTTL + 2) * affinityTick)
		default:
			c.acquire()
		}
	}
}

func (c *affinityClient) session() pool.SessionID {
	return fullSessionName(model.Session(1 + c.rng.IntN(affinitySessions)))
}

// acquire takes a worker, and gives it back in one way or another.
func (c *affinityClient) acquire() {
	id := c.session()
	if c.rng.IntN(8) == 0 {
		id = ""
	}
	ctx, cancel := context.Background(), func() {}
	if c.rng.IntN(4) == 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(1+c.rng.IntN(3))*affinityTick)
	}
	defer cancel()
	var lease SubjectLease
	var err error
	if c.rng.IntN(4) == 0 {
		c.log.Call(linearize.Request{Kind: linearize.Try, Session: string(id)})
		lease, err = c.run.subject.TryAcquireSession(id)
	} else {
		c.log.Call(linearize.Request{Kind: linearize.Acquire, Session: string(id)})
		lease, err = c.run.subject.AcquireSession(ctx, id)
	}
	taken := c.log.Return(historyGrant(lease, err))
	if err != nil {
		return
	}
	time.Sleep(time.Duration(c.rng.IntN(3)) * affinityTick)
	worker := lease.WorkerID()
	how := c.rng.IntN(24)
	if how == 0 {
		c.log.Call(linearize.Request{Kind: linearize.Discard, Lease: taken})
		lease.Discard(errFullBad)
		c.log.Return(historyDone(nil))
		return
	}
	c.log.Call(linearize.Request{Kind: linearize.Release, Lease: taken})
	lease.Release()
	c.log.Return(historyDone(nil))
	if how == 1 {
		c.log.Call(linearize.Request{Kind: linearize.Retire, Worker: uint64(worker)})
		c.run.subject.Retire(worker, errFullRetire)
		c.log.Return(historyDone(nil))
	}
}

package props

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
)

// raceTick is a tick of the model's configurations in Race.
const raceTick = 2 * time.Millisecond

// raceFull is one run of real goroutines on a pool that promises I1 to I18, by the clock on
// the wall. The factory's books judge it, and the record of how sessions were served.
type raceFull struct {
	fullFactory
	target   *PoolTarget
	subject  Subject
	cfg      *model.Config
	clock    *genReal
	rng      *rand.Rand
	uses     pooltest.Uses
	crew     []raceCaller
	closed   atomic.Bool // closing has begun
	calls    atomic.Int64
	recorder *linearize.Recorder
	grants   atomic.Int64
	hooks    struct {
		sync.Mutex
		rng *rand.Rand // guarded by Mutex
	}

	tokens map[pool.Token]bool // guarded by fullFactory.mu; of all grants
}

// raceCaller is a client in a goroutine of its own.
type raceCaller struct {
	run    *raceFull
	number model.Client
	rng    *rand.Rand
	ops    int
	closes int // at this op it closes the pool; -1: it does not
	doing  atomic.Pointer[string]

	lease SubjectLease
	held  *FullWorker
	ended func() // records the end of the lease

	log   *linearize.Client
	taken linearize.Lease // the lease, in the history
}

// drawRaceConfig draws a configuration.
func drawRaceConfig(rng *rand.Rand) *model.Config {
	cfg := &model.Config{
		MaxSize: 1 + rng.IntN(4), BackoffMin: 1, BackoffMax: 2, Clients: 2 + rng.IntN(raceMostClients-1),
		Affinity: model.Affinity(rng.IntN(4) % 3), HealthCheckFailures: 1, HasTell: rng.IntN(3) == 0,
	}
	if rng.IntN(3) == 0 {
		cfg.HasCheck, cfg.HealthCheckPeriod = true, 1
	}
	if rng.IntN(3) == 0 {
		cfg.MinSize = 1
	}
	if rng.IntN(4) == 0 {
		cfg.MaxWaiters = 2
	}
	return cfg
}

func newRaceFull(target *PoolTarget, clock *genReal, seed uint64) (*raceFull, error) {
	r := &raceFull{target: target, clock: clock, rng: rand.New(rand.NewPCG(seed, 1)), tokens: map[pool.Token]bool{}}
	r.hooks.rng = rand.New(rand.NewPCG(seed, 2))
	r.cfg = target.Config
	if r.cfg == nil {
		r.cfg = drawRaceConfig(r.rng)
	}
	r.backend = target.Backend
	if r.backend == nil {
		r.backend = fullMemory{}
	}
	r.loose = r.improvise
	cfg := fullPoolConfig(r.cfg, raceTick)
	cfg.Start, cfg.Stop, cfg.Usable = r.start, r.stop, r.usable
	if r.cfg.HasCheck {
		cfg.Check = r.check
	}
	if r.cfg.HasTell {
		cfg.SessionEnded = r.sessionEnded
	}
	r.recorder = linearize.NewRecorder(linearize.RecorderConfig{Head: linearize.Head{
		Pool: target.Name, Seed: seed, Config: historyOf(r.cfg, raceTick),
	}})
	if seed%2 == 0 { // without an Observer a pool may take short cuts
		cfg.Observer = r.recorder.Observe
	}
	r.books.most = cfg.MaxSize
	r.draw(seed)
	var err error
	if r.subject, err = target.Open(cfg); err != nil {
		return nil, errors.Join(errFullOpen, err)
	}
	return r, nil
}

// draw makes the clients. In every third run one of them closes the pool.
func (r *raceFull) draw(seed uint64) {
	closing := r.rng.IntN(3) == 0
	most := raceMostOps
	if r.rng.IntN(2) == 0 {
		most = raceBurst
	}
	r.crew = make([]raceCaller, max(2, r.cfg.Clients))
	for i := range r.crew {
		c := &r.crew[i]
		c.run, c.log = r, r.recorder.Client()
		c.number, c.ops, c.closes = model.Client(i+1), 1+r.rng.IntN(most), -1
		c.rng = rand.New(rand.NewPCG(seed, uint64(3+i)))
		if closing && i == 0 {
			c.closes = r.rng.IntN(c.ops)
		}
	}
}

// improvise decides how a hook ends; it may let some time pass.
func (r *raceFull) improvise(context.Context, model.Event) fullHow {
	r.hooks.Lock()
	n, slow := r.hooks.rng.IntN(24), time.Duration(1+r.hooks.rng.IntN(300))*time.Microsecond
	r.hooks.Unlock()
	switch {
	case n < 5:
		time.Sleep(slow)
	case n < 8:
		return fullError + fullHow(n-5)
	}
	return fullGood
}

// within calls f in another goroutine and returns what is wrong if it takes too long.
func (r *raceFull) within(f func()) error {
	done := make(chan struct{})
	r.clock.start(func() {
		defer close(done)
		f()
	})
	timer := time.NewTimer(racePatience)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
	}
	for i := range r.crew {
		if doing := r.crew[i].doing.Load(); doing != nil {
			return fmt.Errorf("I4: client %d: %s has not returned for %v", i+1, *doing, racePatience)
		}
	}
	return fmt.Errorf("I4: nothing has come to an end for %v", racePatience)
}

// play lets the clients loose and waits for them.
func (r *raceFull) play() error {
	var all sync.WaitGroup
	for i := range r.crew {
		all.Add(1)
		r.clock.start(func() {
			defer all.Done()
			r.crew[i].play()
		})
	}
	return r.within(all.Wait)
}

// play does the client's operations, and gives back what it holds in the end.
func (c *raceCaller) play() {
	for i := range c.ops {
		switch {
		case i == c.closes:
			c.giveBack()
			c.close()
		case c.lease != nil:
			if runtime.Gosched(); c.one(8) {
				time.Sleep(time.Duration(c.rng.IntN(200)) * time.Microsecond)
			}
			c.giveBack()
		default:
			c.ask(i)
		}
	}
	c.giveBack()
}

func (c *raceCaller) one(in int) bool { return c.rng.IntN(in) == 0 }

// call makes one call into the pool, which says what it is. All calls go through here: who
// records histories needs to know of nothing else.
func (c *raceCaller) call(what string, f func()) {
	c.doing.Store(&what)
	c.run.calls.Add(1)
	defer func() {
		if p := recover(); p != nil {
			c.run.book(func(b *fullBooks) { b.complain("I14: %s panicked: %v", what, p) })
		}
		c.doing.Store(nil)
	}()
	f()
}

// ask does something that takes no lease, or asks for one.
func (c *raceCaller) ask(i int) {
	r := c.run
	switch n := c.rng.IntN(40); {
	case n == 0:
		most := 1 + c.rng.IntN(4)
		least := c.rng.IntN(2)
		r.book(func(b *fullBooks) { b.most = max(b.most, most) })
		c.call("resize", func() {
			c.log.Call(linearize.Request{Kind: linearize.Resize, Max: most})
			err := r.subject.Resize(least, most)
			c.log.Return(historyDone(err))
			if err != nil && !errors.Is(err, pool.ErrClosed) {
				r.book(func(b *fullBooks) { b.complain("I16: resize fails: %v", err) })
			}
		})
	case n < 3:
		r.mu.Lock()
		id := pool.WorkerID(1 + c.rng.IntN(len(r.books.workers)+1))
		known := int(id) <= len(r.books.workers) // else the pool may not know of it yet, and does nothing
		r.mu.Unlock()
		c.call("retire", func() {
			if !known {
				r.subject.Retire(id, errFullRetire)
				return
			}
			c.log.Call(linearize.Request{Kind: linearize.Retire, Worker: uint64(id)})
			r.subject.Retire(id, errFullRetire)
			c.log.Return(historyDone(nil))
		})
	case n < 6:
		id := c.ending()
		c.call("end", func() {
			c.log.Call(linearize.Request{Kind: linearize.EndSession, Session: string(id)})
			r.subject.EndSession(id)
			c.log.Return(historyDone(nil))
		})
	case n == 6:
		c.call("stat", func() { r.addUp(r.subject) })
	default:
		c.acquire(i, n < 12)
	}
}

// ending draws one of the sessions that end at any time: their affinity is not judged.
func (c *raceCaller) ending() pool.SessionID {
	return pool.SessionID(fmt.Sprintf("ending %d", c.rng.IntN(2)))
}

// acquire asks for a lease. Sessions change their names now and then: a lost one stays lost.
func (c *raceCaller) acquire(i int, try bool) {
	r := c.run
	id := pool.SessionID("")
	judged := false
	switch c.rng.IntN(4) {
	case 0:
		id = c.ending()
	case 1, 2:
		id, judged = pool.SessionID(fmt.Sprintf("session %d of %d", c.rng.IntN(3), i/8)), true
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if !judged && c.one(3) { // a grant that meets a cancel binds the session and nobody is told
		timer := time.AfterFunc(time.Duration(c.rng.IntN(200))*time.Microsecond, func() { cancel(errFullCancel) })
		defer timer.Stop()
	}
	c.call("acquire", func() {
		var lease SubjectLease
		var err error
		kind := linearize.Acquire
		if try {
			kind = linearize.Try
		}
		c.log.Call(linearize.Request{Kind: kind, Session: string(id)})
		switch {
		case try:
			lease, err = r.subject.TryAcquireSession(id)
		case id == "":
			lease, err = r.subject.Acquire(ctx)
		default:
			lease, err = r.subject.AcquireSession(ctx, id)
		}
		c.taken = c.log.Return(historyGrant(lease, err))
		exclusive := err != nil || lease.Worker().takeHold(c.number)
		if judged {
			c.ended = r.uses.Begin(id, lease, err)
		}
		if err != nil {
			c.refused(err)
			return
		}
		c.lease, c.held = lease, lease.Worker()
		c.granted(exclusive)
	})
}

// refused judges the error of an acquire.
func (c *raceCaller) refused(err error) {
	switch fullReason(err) {
	case model.ReasonNone:
		c.run.book(func(b *fullBooks) {
			b.complain("I4: an acquire fails with an error that is none of the promised ones: %v", err)
		})
	case model.ReasonClosed:
		if !c.run.closed.Load() {
			c.run.book(func(b *fullBooks) { b.complain("I13: refused as closed, but nothing had closed the pool") })
		}
	}
}

// granted enters a grant in the books.
func (c *raceCaller) granted(exclusive bool) {
	r := c.run
	r.grants.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.books.forced { // else it may have been revoked on the way
		r.books.granted(c.lease.WorkerID(), c.number)
	}
	if !exclusive {
		r.books.complain("I1: worker %d is held by two clients at once", c.lease.WorkerID())
	}
	if token := c.lease.Token(); r.tokens[token] {
		r.books.complain("I1: token %d is granted twice", token)
	} else {
		r.tokens[token] = true
	}
}

// giveBack ends the client's lease, if it has one, in a drawn way.
func (c *raceCaller) giveBack() {
	if c.lease == nil {
		return
	}
	r, lease, held := c.run, c.lease, c.held
	n := c.rng.IntN(12)
	held.usable = fullUsableYes
	if n == 1 {
		held.usable = fullUsableNo
	}
	if c.ended != nil {
		c.ended()
	}
	r.book(func(b *fullBooks) { b.released(lease.WorkerID(), c.number) })
	c.lease, c.held, c.ended = nil, nil, nil
	c.call("release", func() {
		held.letGo()
		q := linearize.Request{Kind: linearize.Release, Lease: c.taken}
		if n < 2 { // an unusable worker ends like one that is discarded
			q.Kind = linearize.Discard
		}
		c.log.Call(q)
		if n == 0 {
			lease.Discard(errFullBad)
		} else {
			lease.Release()
		}
		c.log.Return(historyDone(nil))
	})
}

// close calls Close, or Shutdown with a context that ends soon.
func (c *raceCaller) close() {
	r := c.run
	r.closed.Store(true)
	if c.one(2) {
		c.call("close", func() { r.shut(c.logClose(linearize.Close, r.subject.Close)) })
		return
	}
	r.book(func(b *fullBooks) { b.forced = true })
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(c.rng.IntN(1000))*time.Microsecond)
	defer cancel()
	c.call("shutdown", func() {
		r.shut(c.logClose(linearize.Shutdown, func() error { return r.subject.Shutdown(ctx) }))
	})
}

// logClose records a close.
func (c *raceCaller) logClose(kind linearize.Kind, shut func() error) error {
	c.log.Call(linearize.Request{Kind: kind})
	err := shut()
	c.log.Return(historyDone(nil))
	return err
}

// shut judges what closing returned.
func (r *raceFull) shut(err error) {
	var forced *pool.ShutdownError
	if err != nil && !errors.As(err, &forced) {
		r.book(func(b *fullBooks) { b.complain("I13: closing fails with an error that is no *ShutdownError: %v", err) })
	}
}

// takeHold and letGo are what a holder does with a worker first and last; see Resource.
func (w *FullWorker) takeHold(c model.Client) bool {
	w.mark = c
	return w.word.CompareAndSwap(0, int64(c))
}

func (w *FullWorker) letGo() {
	w.word.Store(0)
	w.mark = 0
}

// verifyAffinity holds the sessions of the run to the pool's affinity.
func (r *raceFull) verifyAffinity(t *testing.T) {
	t.Helper()
	uses := r.uses.All()
	granted := map[pool.SessionID]int{}
	for _, u := range uses {
		if u.Err == nil {
			if granted[u.Session]++; granted[u.Session] == 2 { // else nothing is proved
				pooltest.VerifyAffinity(t, pool.Affinity(r.cfg.Affinity), uses)
				return
			}
		}
	}
}

package props

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/model"
)

// fullTick is the tick of the model in the pool's time.
const fullTick = time.Second

// fullClock tells a run when the pool has come to rest, and lets time pass.
type fullClock interface {
	// rest returns once nothing happens any more unless time passes or somebody acts.
	rest(r *fullRun)
	// restUntil is rest at a moment when cond, which needs the factory's lock, must hold:
	// where rest cannot be known for sure, it waits for cond.
	restUntil(r *fullRun, cond func() bool)
	// tick lets one tick pass, and returns at rest.
	tick(r *fullRun)
}

// fullBubble is the clock inside a testing/synctest bubble.
type fullBubble struct{}

func (fullBubble) rest(*fullRun) { synctest.Wait() }

func (fullBubble) restUntil(*fullRun, func() bool) { synctest.Wait() }

func (fullBubble) tick(*fullRun) {
	time.Sleep(fullTick)
	synctest.Wait()
}

// fullRun is a pool, its workers and its callers.
type fullRun struct {
	fullFactory
	fullCrew
	clock fullClock
	seen  []model.Event // the last operation's
}

// fullOpen opens a pool with its workers and callers.
func fullOpen(target *PoolTarget, setup *model.Config, tick time.Duration, clock fullClock) (*fullRun, error) {
	cfg := fullPoolConfig(setup, tick)
	r := &fullRun{clock: clock}
	f := &r.fullFactory
	f.backend = target.Backend
	if f.backend == nil {
		f.backend = fullMemory{}
	}
	f.books.most = cfg.MaxSize
	cfg.Start, cfg.Stop, cfg.Usable = f.start, f.stop, f.usable
	if setup.HasCheck {
		cfg.Check = f.check
	}
	if setup.HasTell {
		cfg.SessionEnded = f.sessionEnded
	}
	r.clients = make([]fullClient, setup.Clients+1)
	for i := range r.clients {
		r.clients[i].number = model.Client(i)
	}
	r.factory = f
	subject, err := target.Open(cfg)
	if err != nil {
		return nil, errors.Join(errFullOpen, err)
	}
	r.subject = subject
	return r, nil
}

// errFullOpen says that the pool could not be opened, which finds nothing.
var errFullOpen = errors.New("props: cannot open the pool")

// do does one operation, waits for rest, and collects what it caused into r.seen. Under way
// are operations applied before without waiting for rest.
func (r *fullRun) do(op model.Op, variant uint8, underWay ...model.Op) error {
	if op.Kind == model.OpTick {
		// What was read here before comes before what callers write when time has passed:
		// the race detector does not know that of timers.
		r.factory.book(func(*fullBooks) {})
		r.clock.tick(r)
	} else {
		if err := r.apply(op, variant); err != nil {
			return err
		}
		r.clock.rest(r)
	}
	r.collect()
	if err := r.settled(append(underWay, op)...); err != nil || len(underWay) > 0 {
		return err
	}
	return r.unmoved(op)
}

// fullOrder sorts events that happened at once.
func fullOrder(a, b model.Event) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Client, b.Client), cmp.Compare(a.Worker, b.Worker),
		cmp.Compare(a.Session, b.Session))
}

// unmoved demands that the operations which change nothing changed nothing.
func (r *fullRun) unmoved(op model.Op) error {
	seen := r.seen
	if _, bubble := r.clock.(fullBubble); !bubble { // a back-off may have ended just then
		seen = slices.DeleteFunc(slices.Clone(seen), func(ev model.Event) bool { return ev.Kind == model.EvStartBegun })
	}
	switch op.Kind {
	case fullOpStale:
		want := model.Event{Kind: model.EvRefused, Client: op.Client, Reason: model.ReasonCancelled}
		if len(seen) != 1 || seen[0] != want {
			return fmt.Errorf("I6: an acquire whose context is done takes something: want %s, got %s",
				fullEventText(want), fullEventTexts(seen))
		}
	case fullOpAgain:
		if len(seen) > 0 {
			return fmt.Errorf("I14: a second release has an effect: %s", fullEventTexts(seen))
		}
	}
	return nil
}

// settled takes over what the callers did, once the pool is at rest after op, and reports
// the first rule that the books find broken.
func (r *fullRun) settled(ops ...model.Op) error {
	f := r.factory
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range r.clients {
		c := &r.clients[i]
		if c.busy && !c.parked {
			return fmt.Errorf("I4: a call does not return: %v", fullOpTexts(ops))
		}
		if !c.busy {
			c.parked = false
			if c.hands != nil {
				r.idle = append(r.idle, c.hands)
				c.hands = nil
			}
		}
	}
	for _, op := range ops {
		if op.Kind == model.OpResize {
			f.books.most = int(op.Max)
		}
	}
	f.books.rest()
	r.compare()
	if len(f.books.faults) > 0 {
		return fmt.Errorf("%s", f.books.faults[0])
	}
	return nil
}

// landed reports whether every hook that was told how to end has returned and the pool has
// taken notice, as far as its statistics show. The caller holds the factory's lock.
func (r *fullRun) landed() bool {
	f := r.factory
	if f.loose == nil && f.inside > len(f.gates) {
		return false
	}
	t, ok := r.subject.Tally()
	if !ok {
		return true
	}
	starting, checking := 0, 0
	for i := range f.books.workers {
		checking += f.books.workers[i].checking
		if f.books.workers[i].phase == fullStarting {
			starting++
		}
	}
	return t.Starting <= starting && t.Checking <= checking && t.Live == f.books.live
}

// compare holds the pool's statistics against the books. The caller holds the factory's lock.
func (r *fullRun) compare() {
	t, ok := r.subject.Tally()
	if _, bubble := r.clock.(fullBubble); !ok || !bubble {
		return
	}
	parked, held := 0, 0
	for i := range r.clients {
		c := &r.clients[i]
		if c.parked {
			parked++
		}
		if c.lease != nil && !c.revoked {
			held++
		}
	}
	b := &r.factory.books
	if t.Live != b.live || t.Waiting != parked || t.Leased != held {
		b.complain("I15: the pool counts %d live workers, %d leases and %d waiters; there are %d, %d and %d",
			t.Live, t.Leased, t.Waiting, b.live, held, parked)
	}
}

// collect takes what happened since the last rest into r.seen.
func (r *fullRun) collect() {
	f := r.factory
	f.mu.Lock()
	r.seen = r.gather(r.seen[:0])
	f.events = f.events[:0]
	if f.loose == nil && r.returned > 0 && (r.closing > 0 || r.forced%r.returned != 0) {
		f.books.complain("I13: of %d callers of Close and Shutdown %d have returned, %d of them with an error",
			r.closing+r.returned, r.returned, r.forced)
	}
	r.returned, r.forced = 0, 0
	f.mu.Unlock()
	for _, ev := range r.seen {
		if ev.Kind == model.EvRevoked {
			r.clients[ev.Client].revoked = true
		}
	}
}

// peek returns what happened since the last rest without taking it.
func (r *fullRun) peek() []model.Event {
	r.factory.mu.Lock()
	defer r.factory.mu.Unlock()
	return r.gather(nil)
}

// gather appends the events since the last rest, and those that have to be asked for:
// revocations, and the returns of Close and Shutdown. The caller holds the factory's lock.
func (r *fullRun) gather(seen []model.Event) []model.Event {
	seen = append(seen, r.factory.events...)
	for i := range r.clients {
		c := &r.clients[i]
		if c.lease != nil && !c.revoked && c.lease.Revoked() {
			seen = append(seen, model.Event{Kind: model.EvRevoked, Client: c.number})
		}
	}
	if r.returned > 0 {
		ev := model.Event{Kind: model.EvClosed}
		if r.forced > 0 {
			ev.Reason = model.ReasonForced
		}
		seen = append(seen, ev)
	}
	slices.SortFunc(seen, fullOrder)
	return seen
}

// finish heals the run, gives back what is held, closes the pool and reports what is left.
// The run must be at rest.
func (r *fullRun) finish() error {
	f := r.factory
	f.openAll()
	for i := range r.clients {
		r.clients[i].giveUp()
	}
	r.clock.restUntil(r, r.nobodyCalls)
	r.collect()
	if err := r.settled(); err != nil {
		return err
	}
	if err := r.letGoAll(); err != nil {
		return err
	}
	for _, cancel := range r.forces {
		cancel(errFullForce)
	}
	r.forces = nil
	r.close(context.Background())
	r.clock.restUntil(r, func() bool { return r.closing == 0 && f.books.live == 0 })
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range r.clients {
		c := &r.clients[i]
		if c.busy {
			return fmt.Errorf("I4: the acquire of client %d does not return when its context ends", i)
		}
	}
	r.dismiss()
	if r.closing > 0 {
		return fmt.Errorf("I13: Close does not return although no lease is out and every hook has returned")
	}
	f.books.left()
	if len(f.books.faults) > 0 {
		return fmt.Errorf("%s", f.books.faults[0])
	}
	return nil
}

// nobodyCalls reports whether every call of a client has returned. The caller holds the
// factory's lock.
func (r *fullRun) nobodyCalls() bool {
	for i := range r.clients {
		if r.clients[i].busy {
			return false
		}
	}
	return true
}

// letGoAll releases every lease.
func (r *fullRun) letGoAll() error {
	for i := range r.clients {
		if c := &r.clients[i]; c.lease != nil {
			if err := r.do(model.Op{Kind: model.OpRelease, Client: c.number}, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// abandon ends, after a failure, as much of the run as can be ended. Nothing it finds matters.
func (r *fullRun) abandon() {
	f := r.factory
	f.openAll()
	for i := range r.clients {
		c := &r.clients[i]
		c.giveUp()
		f.mu.Lock()
		lease := c.lease
		f.mu.Unlock()
		if lease != nil {
			go func() {
				defer func() { _ = recover() }()
				lease.Release()
			}()
		}
	}
	r.dismiss()
	for _, cancel := range r.forces {
		cancel(errFullForce)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	go func() {
		defer func() { _ = recover() }()
		_ = r.subject.Shutdown(ctx)
	}()
	r.clock.rest(r)
}

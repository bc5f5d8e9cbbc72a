package props

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/model"
)

// fullDeed is one thing that a free-running client or the operator does.
type fullDeed struct {
	think    uint8 // how long it waits before
	session  uint8 // of fullFree.sessions+1
	how      uint8 // clients: acquire or try; the operator: what
	patience uint8 // how long an acquire may take
	hold     uint8 // how long the lease is held
	end      uint8 // how it ends
}

// fullFree is a run of clients that nobody holds back: what they do is drawn beforehand,
// what hooks do follows from a drawn seed, and nothing but the books judges them.
type fullFree struct {
	clients  [][]fullDeed
	operator []fullDeed
	seed     uint64
	faults   uint8 // out of 16 hook calls, how many fail
	slow     uint8 // the longest hook, in tenths of a tick
}

// fullMoment is the unit of the free-running clients' times.
const fullMoment = fullTick / 10

func fullDrawFree(rt *rapid.T, clients int) *fullFree {
	bit := rapid.Bool()
	deed := func(rt *rapid.T) fullDeed {
		return fullDeed{
			think: fullBits(rt, bit, 4), session: fullBits(rt, bit, 2), how: fullBits(rt, bit, 3),
			patience: fullBits(rt, bit, 5), hold: fullBits(rt, bit, 4), end: fullBits(rt, bit, 3),
		}
	}
	deeds := rapid.SliceOfN(rapid.Custom(deed), 0, 12)
	free := &fullFree{
		faults: rapid.Uint8Range(0, 8).Draw(rt, "faults out of 16"),
		slow:   fullBits(rt, bit, 5),
		seed:   rapid.Uint64().Draw(rt, "seed of the hooks"),
	}
	for range clients {
		free.clients = append(free.clients, deeds.Draw(rt, "client"))
	}
	free.operator = deeds.Draw(rt, "operator")
	return free
}

// chance is a number that depends on the seed and the call only, not on the schedule.
func (free *fullFree) chance(a, b, c uint64) uint64 {
	x := free.seed + a*0x9e3779b97f4a7c15 + b*0xbf58476d1ce4e5b9 + c*0x94d049bb133111eb
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hook decides how long a hook takes and how it ends.
func (free *fullFree) hook(ctx context.Context, began model.Event) fullHow {
	x := free.chance(uint64(began.Worker), uint64(began.Kind), uint64(began.Session))
	slow := time.Duration(x>>8%(uint64(free.slow)+1)) * fullMoment
	slow += time.Duration(x>>40%1e6) * time.Nanosecond // no two things at once: the run can be repeated
	select {
	case <-time.After(slow):
	case <-fullDoneIf(ctx, x&16 != 0 && began.Kind != model.EvStopBegun):
		return fullError
	}
	if uint8(x%16) < free.faults {
		return fullError + fullHow(x>>5%3)
	}
	return fullGood
}

// fullDoneIf is the end of ctx for hooks that obey it.
func fullDoneIf(ctx context.Context, obeys bool) <-chan struct{} {
	if !obeys {
		return nil
	}
	return ctx.Done()
}

// run lets everyone loose and waits for them; then it demands full capacity and a clean end.
func (free *fullFree) run(r *fullRun, lim *fullLimits, note func(string)) error {
	r.factory.loose = free.hook
	var all sync.WaitGroup
	for i := range free.clients {
		all.Go(func() { free.client(r, &r.clients[i+1], free.clients[i], lim) })
	}
	all.Go(func() { free.operate(r, lim) })
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	note("clients run free")
	select {
	case <-done:
	case <-time.After(1000 * fullTick):
		return fmt.Errorf("I4: a call does not return 1000 ticks after everybody's patience has ended")
	}
	r.factory.openAll()
	time.Sleep(time.Duration(free.slow+2) * fullMoment) // the hooks that are running end
	r.clock.rest(r)
	r.collect()
	if err := r.settled(); err != nil {
		return err
	}
	return r.progress(lim, note)
}

// client does its deeds one after the other.
func (free *fullFree) client(r *fullRun, c *fullClient, deeds []fullDeed, lim *fullLimits) {
	time.Sleep(time.Duration(c.number) * time.Millisecond) // no two clients at once
	for _, d := range deeds {
		time.Sleep(time.Duration(d.think) * fullMoment)
		op := model.Op{Kind: model.OpAcquire, Client: c.number, Session: model.Session(int(d.session) % (lim.sessions + 1))}
		if d.how == 7 {
			op.Kind = model.OpTry
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		timer := time.AfterFunc(time.Duration(d.patience)*fullMoment, func() { cancel(errFullCancel) })
		r.fullCrew.do(c, fullCall{op: op, ctx: ctx})
		timer.Stop()
		cancel(nil)
		r.addUp()
		if c.lease == nil {
			continue
		}
		time.Sleep(time.Duration(d.hold) * fullMoment)
		end := model.Op{Kind: model.OpRelease, Client: c.number}
		answer := fullUsableYes
		switch d.end {
		case 6:
			answer = fullUsableNo
		case 7:
			end.Kind = model.OpDiscard
		}
		r.fullCrew.do(c, fullCall{op: end, lease: r.letGo(c, answer)})
		r.addUp()
	}
}

// operate does the operator's deeds.
func (free *fullFree) operate(r *fullRun, lim *fullLimits) {
	c := &r.clients[0]
	for _, d := range free.operator {
		time.Sleep(time.Duration(d.think) * fullMoment)
		op := model.Op{}
		switch {
		case d.how < 3:
			op.Kind, op.Session = model.OpEndSession, model.Session(1+int(d.session)%lim.sessions)
		case d.how < 5:
			op.Kind, op.Worker = model.OpRetire, model.Worker(1+d.patience%8)
		case d.how < 7:
			op.Kind, op.Max = model.OpResize, 1+d.patience%uint8(lim.size)
			op.Min = d.hold % (op.Max + 1)
			r.factory.book(func(b *fullBooks) { b.most = max(b.most, int(op.Max)) })
		case lim.closing && d.end == 7:
			r.force(false)
			continue
		default:
			continue
		}
		r.fullCrew.do(c, fullCall{op: op})
		if op.Kind == model.OpResize {
			time.Sleep(time.Nanosecond) // all starts that were decided before have begun
			r.factory.book(func(b *fullBooks) { b.most = int(op.Max) })
		}
		r.addUp()
	}
}

// addUp demands that the parts of the pool's statistics make up the whole (I15).
func (r *fullRun) addUp() { r.factory.addUp(r.subject) }

// addUp is what addUp of a run does.
func (f *fullFactory) addUp(subject Subject) {
	t, ok := subject.Tally()
	if !ok {
		return
	}
	if parts := t.Starting + t.Idle + t.Checking + t.Leased + t.Stopping; parts != t.Live || min(
		t.Starting, t.Idle, t.Checking, t.Leased, t.Stopping, t.Waiting) < 0 {
		f.book(func(b *fullBooks) { b.complain("I15: the statistics do not add up: %+v", t) })
	}
}

// length is the number of deeds.
func (free *fullFree) length() int {
	n := len(free.operator)
	for _, deeds := range free.clients {
		n += len(deeds)
	}
	return n
}

// String lists the deeds, one line each.
func (free *fullFree) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "hooks: seed %d, %d of 16 calls fail, up to %d moments long (10 moments are a tick)\n",
		free.seed, free.faults, free.slow)
	for i, deeds := range append([][]fullDeed{free.operator}, free.clients...) {
		for _, d := range deeds {
			fmt.Fprintf(&b, "client %d: %+v\n", i, d)
		}
	}
	return b.String()
}

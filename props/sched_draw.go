package props

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/sched"
)

// schedDrawer draws programs and schedules, all from one number that rapid draws: rapid's
// own small numbers would be the same few too often, and its shrinking does not know what a
// preemption is; the shrinker of findings does.
type schedDrawer struct {
	pcg     *rand.PCG
	rng     *rand.Rand
	seed    *rapid.Generator[uint64]
	weights []schedWeight // of the verbs that the program uses
	fitting []schedWeight // scratch
	can     *schedAbilities

	left     int // runs of the current program
	current  *schedProgram
	programs int // so far
}

// drawer returns the target's drawer, for one check: checks follow one another and share it.
func (t *PoolTarget) drawer(tt *testing.T, rt *rapid.T) *schedDrawer {
	if t.draws == nil {
		pcg := rand.NewPCG(0, 0)
		t.draws = &schedDrawer{pcg: pcg, rng: rand.New(pcg), seed: rapid.Uint64(), can: t.abilities(tt)}
	}
	seed := t.draws.seed.Draw(rt, "seed")
	t.draws.pcg.Seed(schedMix(seed), schedMix(^t.draws.seed.Draw(rt, "seed")))
	return t.draws
}

// schedMix spreads a number over all bits: rapid likes small ones, from which a PCG begins
// with much the same numbers.
func schedMix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// draw returns a number from 0 to n-1.
func (d *schedDrawer) draw(_ string, n int) int {
	if n < 2 {
		return 0
	}
	return d.rng.IntN(n)
}

// schedWeight is how often a verb is drawn, out of all of them.
type schedWeight struct {
	verb   schedVerb
	weight int
}

// schedWeights returns the verbs as they are drawn, the simplest first.
func schedWeights() []schedWeight {
	return []schedWeight{
		{schedAcquire, 34},
		{schedRelease, 24},
		{schedTry, 4},
		{schedDiscard, 5},
		{schedUnusable, 2},
		{schedPause, 4},
		{schedEndSession, 5},
		{schedRetire, 5},
		{schedResize, 5},
		{schedDo, 5},
		{schedStat, 2},
		{schedReady, 1},
		{schedAgain, 1},
		{schedClose, 5},
		{schedShutdown, 4},
	}
}

const (
	schedMostOps   = 6 // of a client
	schedMostHooks = 4 // of which something is said
)

// program draws a program for a pool set up like cfg. Most are short: what goes wrong often
// shows only if nothing is done afterwards.
func (d *schedDrawer) program(cfg *model.Config) *schedProgram {
	p := &schedProgram{cfg: cfg, observed: d.draw("observed", 2) == 1, clients: make([][]schedOp, cfg.Clients)}
	d.focus(cfg)
	d.hooks(p)
	if d.draw("meet", 8) > 0 {
		d.meeting(p)
		return p
	}
	most := [...]int{2, 3, schedMostOps}[d.draw("length", 3)]
	for i := range p.clients[:min(len(p.clients), 2+d.draw("clients", len(p.clients)))] {
		p.clients[i] = d.ops(cfg, nil, 1+d.draw("operations", most))
	}
	return p
}

// meeting draws a program in which two clients bring themselves into some state, meet, and
// then do one or two things at once; a third may hold a lease or wait for one.
func (d *schedDrawer) meeting(p *schedProgram) {
	d.alike(p.cfg)
	for i := range min(2, len(p.clients)) {
		ops := append(d.before(p.cfg, i == 0), schedOp{verb: schedMeet})
		p.clients[i] = d.ops(p.cfg, ops, 1+d.draw("more", 4)/3)
	}
	if len(p.clients) > 2 && d.draw("third", 4) == 0 {
		p.clients[2] = d.ops(p.cfg, nil, 1)
	}
}

// before draws what a client does before a meeting: nothing, take a lease, end it, and take
// another; and perhaps let time pass. The first client most likely comes with a lease, perhaps
// on a worker to which it has bound a session before; the second with one only if there may be
// two, or having left a binding.
func (d *schedDrawer) before(cfg *model.Config, first bool) []schedOp {
	often := [...]int{0, 0, 0, 1, 1, 2}
	switch {
	case first && cfg.Sessions > 0:
		often = [...]int{0, 1, 1, 2, 3, 3}
	case cfg.Sessions > 0:
		often = [...]int{0, 0, 1, 2, 2, 2}
	case first || cfg.MaxSize > 1:
		often = [...]int{0, 0, 1, 1, 1, 2}
	}
	n := often[d.draw("before", len(often))]
	acquire := schedOp{verb: schedAcquire, session: d.session(cfg)}
	again := schedOp{verb: schedAcquire, session: d.session(cfg)}
	if n > 1 { // without a session it would leave nothing but an idle worker
		acquire.session = max(acquire.session, d.session(cfg))
	}
	ops := []schedOp{acquire, {verb: schedRelease}, again}[:n]
	if n%2 == 0 && cfg.Offer.Ticks && d.draw("later", 4) > 0 {
		ops = append(ops, schedOp{verb: schedPause, n: d.ticks(cfg)})
	}
	return ops
}

// ticks draws how long a client pauses: often as long as something takes in that pool.
func (d *schedDrawer) ticks(cfg *model.Config) uint8 {
	spans := [...]int{cfg.SessionTTL, cfg.AcquireTimeout, cfg.HealthCheckPeriod, cfg.MaxLifetime, cfg.BackoffMin}
	if !cfg.Offer.FailingStarts {
		spans[len(spans)-1] = 0 // nothing backs off
	}
	some := slices.DeleteFunc(spans[:], func(n int) bool { return n == 0 })
	if len(some) > 0 && d.draw("exactly", 8) > 0 {
		return uint8(some[d.draw("span", len(some))])
	}
	return uint8(1 + d.draw("ticks", 3))
}

// alike draws all verbs about as often: each meets each.
func (d *schedDrawer) alike(cfg *model.Config) {
	d.weights = d.weights[:0]
	for _, w := range schedWeights() {
		if !w.verb.offered(cfg) || !d.can.has(w.verb) {
			continue
		}
		switch w.verb {
		case schedAcquire:
			w.weight = 4
		case schedRelease:
			w.weight = 8
		case schedStat, schedReady, schedAgain:
			w.weight = 1
		case schedEndSession, schedResize:
			w.weight = 4
		default:
			w.weight = 2
		}
		d.weights = append(d.weights, w)
	}
}

// session draws a session, or none.
func (d *schedDrawer) session(cfg *model.Config) model.Session {
	return model.Session(d.draw("session", cfg.Sessions+1))
}

// ops adds n operations to a client's program.
func (d *schedDrawer) ops(cfg *model.Config, to []schedOp, n int) []schedOp {
	for range n {
		to = append(to, d.op(cfg, to))
	}
	return to
}

// hooks draws what hooks do.
func (d *schedDrawer) hooks(p *schedProgram) {
	if d.draw("hooks", 2) == 0 {
		return
	}
	for range 1 + d.draw("hooks", schedMostHooks) {
		h := schedHook{hook: schedHookKind(d.draw("hook", int(schedHookKinds))), n: uint8(1 + d.draw("number", 4))}
		offer := &p.cfg.Offer
		mayFail := [schedHookKinds]bool{offer.FailingStarts, true, offer.FailingChecks, offer.FailingTells}[h.hook]
		if mayFail && d.draw("fails", 2) == 1 {
			h.how = fullError + fullHow(d.draw("how", 3))
		} else {
			h.slow = uint8(1 + d.draw("slow", 3))
		}
		if p.hook(h.hook, int(h.n)) == (schedHook{}) {
			p.hooks = append(p.hooks, h)
		}
	}
}

// op draws an operation to follow those before: what cannot be done without a lease
// follows an acquire.
func (d *schedDrawer) op(cfg *model.Config, before []schedOp) schedOp {
	holding := false
	for _, o := range before {
		switch o.verb {
		case schedAcquire, schedTry:
			holding = true
		case schedRelease, schedDiscard, schedUnusable:
			holding = false
		}
	}
	o := schedOp{verb: d.verb(holding)}
	if o.verb == schedDo {
		endings := 2 // returns or fails
		if cfg.Offer.Discards {
			endings = 4
		}
		o.verb += schedVerb(d.draw("ending", endings))
	}
	if o.verb.sessions() && cfg.Sessions > 0 {
		o.session = d.session(cfg)
	}
	if o.verb.waits() && (cfg.Offer.Cancels || o.verb == schedShutdown) {
		switch d.draw("ends", 8) {
		case 6, 7:
			o.ends = schedEndsSome
		case 5:
			if d.draw("stale", 6) == 5 {
				o.ends = schedEndsBefore
			}
		}
	}
	switch o.verb {
	case schedEndSession:
		o.session = max(o.session, 1)
	case schedPause:
		o.n = d.ticks(cfg)
	case schedRetire:
		o.n = uint8(1 + min(d.draw("worker", cfg.MaxSize+1), d.draw("worker", cfg.MaxSize+1)))
	case schedResize:
		sizes := cfg.Offer.Resizes // from small to large; to shrink is what races most
		size := sizes[min(d.draw("size", len(sizes)), d.draw("size", len(sizes)))]
		o.least, o.n = size.Min, size.Max
		if cfg.MinSize > 0 { // Ready looks for at least one
			o.least = max(o.least, 1)
		}
	}
	return o
}

// focus draws which verbs a program uses, and how often: all of them, or a few besides
// acquire and release. What seldom meets among everything else meets often where that is
// missing.
func (d *schedDrawer) focus(cfg *model.Config) {
	d.weights = d.weights[:0]
	for _, w := range schedWeights() {
		if w.verb.offered(cfg) && d.can.has(w.verb) {
			d.weights = append(d.weights, w)
		}
	}
	few := d.draw("focus", 4)
	if few == 0 {
		return
	}
	few = (few + 1) / 2
	const basic, often = 2, 24 // acquire and release; the weight of the others
	others := d.weights[basic:]
	few = min(few, len(others))
	for i := range few {
		j := i + schedPick(others[i:], d.draw("verb", schedTotal(others[i:])))
		others[i], others[j] = others[j], others[i]
		others[i].weight = often
	}
	d.weights = d.weights[:basic+few]
}

// schedTotal adds up weights.
func schedTotal(weights []schedWeight) (total int) {
	for _, w := range weights {
		total += w.weight
	}
	return total
}

// schedPick returns which of the weights a number below their total belongs to.
func schedPick(weights []schedWeight, at int) int {
	for i, w := range weights {
		if at -= w.weight; at < 0 {
			return i
		}
	}
	return len(weights) - 1
}

// verb draws a verb that makes sense.
func (d *schedDrawer) verb(holding bool) schedVerb {
	d.fitting = d.fitting[:0]
	for _, w := range d.weights {
		if !(holding && w.verb.needsNoLease() || !holding && w.verb.needsLease()) {
			d.fitting = append(d.fitting, w)
		}
	}
	if len(d.fitting) == 0 {
		if holding {
			return schedRelease
		}
		return schedAcquire
	}
	return d.fitting[schedPick(d.fitting, d.draw("verb", schedTotal(d.fitting)))].verb
}

// offered tells whether a verb is among what a configuration offers.
func (v schedVerb) offered(cfg *model.Config) bool {
	offer := &cfg.Offer
	switch v {
	case schedPause:
		return offer.Ticks
	case schedTry:
		return offer.Tries
	case schedDiscard:
		return offer.Discards
	case schedUnusable:
		return offer.Unusable
	case schedEndSession:
		return offer.EndSessions && cfg.Sessions > 0
	case schedRetire:
		return offer.Retires
	case schedResize:
		return len(offer.Resizes) > 0
	case schedClose:
		return offer.Close
	case schedShutdown:
		return offer.Force
	case schedReady:
		return cfg.MinSize > 0
	}
	return true
}

// needsLease tells whether a verb is skipped by a client without a lease.
func (v schedVerb) needsLease() bool {
	return v == schedRelease || v == schedDiscard || v == schedUnusable
}

// needsNoLease tells whether a verb is skipped by a client with a lease.
func (v schedVerb) needsNoLease() bool {
	switch v {
	case schedAcquire, schedTry, schedDo, schedDoError, schedDoPanic, schedDoGoexit, schedClose, schedShutdown, schedReady:
		return true
	}
	return false
}

// schedConfig returns what to verify in this check.
func (t *PoolTarget) schedConfig(rt *rapid.T) *model.Config {
	cfg := t.Config
	if cfg == nil {
		cfg = fullDrawConfig(rt, false)
		cfg.MaxIdleTime = 0 // its sweeps come between two ticks
	}
	return t.complete(cfg)
}

// schedSmallest is the simplest configuration.
func schedSmallest() *model.Config {
	return &model.Config{MaxSize: 1, BackoffMin: 1, BackoffMax: 1, Clients: 1}
}

// schedEach is how many schedules a program is run under before another is drawn.
const schedEach = 6

// schedLate is how many programs there are for each in which a caller gives up for certain.
const schedLate = 4

// late has workers start slowly, and a client begin with an acquire whose context ends: before
// time passes, and so before a worker has started. Otherwise a hundred checks, which are but 17
// programs, might have no call that was given up.
func (d *schedDrawer) late(p *schedProgram) {
	p.hooks = slices.DeleteFunc(p.hooks, func(h schedHook) bool { return h.hook == schedStart })
	for n := range model.MaxWorkerSlots {
		p.hooks = append(p.hooks, schedHook{hook: schedStart, n: uint8(n + 1), slow: 1})
	}
	who := d.draw("late", min(2, len(p.clients)))
	p.clients[who] = slices.Insert(p.clients[who], 0, schedOp{verb: schedAcquire, ends: schedEndsSome})
}

// next returns what the next check runs, and how.
func (d *schedDrawer) next(cfg func() *model.Config) (*schedProgram, sched.Strategy) {
	if d.left == 0 {
		d.left, d.current = schedEach, d.program(cfg())
		if d.programs%schedLate == 0 && d.current.cfg.Offer.Cancels {
			d.late(d.current)
		}
		d.programs++
	}
	d.left--
	if d.left == 0 {
		return d.current, sched.NewDrawn(d.draw)
	}
	return d.current, &schedWalk{draw: d.draw, stays: d.left % 2, meets: d.current.meets()}
}

// schedWalk goes on with any task that can, at each point at which no lock is held; while one
// is, others would only come to wait for it. It preempts in one of 2 such points or of
// 4. Before the clients have met it does not preempt.
type schedWalk struct {
	draw  func(label string, n int) int
	stays int // 0: one of 2, 1: one of 4
	meets bool
}

// Pick implements sched.Strategy.
func (w *schedWalk) Pick(c sched.Choice) int {
	switch {
	case !c.Continue:
		return w.draw("next", c.N)
	case w.meets, c.Holds, w.draw("preempt", 2<<w.stays) > 0:
		return 0
	}
	return 1 + w.draw("preempt by", c.N-1)
}

// schedAbilities says what a target has beside the methods of a Subject.
type schedAbilities struct {
	do, ready, tally, points bool
}

// has tells whether the target has what a verb calls.
func (a *schedAbilities) has(v schedVerb) bool {
	switch v {
	case schedDo:
		return a.do
	case schedReady:
		return a.ready
	case schedStat:
		return a.tally
	}
	return true
}

// abilities opens the target's pool once, to see what it has.
func (t *PoolTarget) abilities(tt *testing.T) *schedAbilities {
	tt.Helper()
	if t.able == nil {
		t.able = &schedAbilities{}
		program := &schedProgram{cfg: t.complete(schedSmallest())}
		f := t.schedTest(tt, program, sched.Options{Strategy: sched.NewReplay(nil)})
		if f.run.subject != nil {
			_, t.able.do = schedCan[schedDoer](f.run.subject)
			_, t.able.ready = schedCan[schedReadier](f.run.subject)
			_, t.able.tally = f.run.subject.Tally()
		}
		for _, step := range f.result.Trace.Steps() {
			t.able.points = t.able.points || strings.HasPrefix(step.Text, "Lock ")
		}
	}
	return t.able
}

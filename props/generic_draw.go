package props

import (
	"math/rand/v2"
	"time"

	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/model"
)

// genProfile says what kind of traffic a subtest offers.
type genProfile struct {
	name     string
	steps    int  // at most
	together int  // lines done together, at most
	rounds   bool // traffic comes in bursts, each followed by calm and silence
	books    bool // closes, resets and endings come early and often
	churns   bool // some clients take and give back as fast as they can
	prompt   bool // no hook is made to wait
}

// genProfiles are the subtests of the generic machine.
func genProfiles() []genProfile {
	return []genProfile{
		{name: "Sequential", steps: 40, together: 1},
		{name: "Progress", steps: 24, together: 5, rounds: true, churns: true},
		{name: "Accounting", steps: 40, together: 2, books: true},
	}
}

// genDrawer draws what a run does. Each line comes from one drawn number.
type genDrawer struct {
	word    func(label string) uint64
	rng     *rand.Rand
	pcg     *rand.PCG
	profile genProfile
	theme   uint64
	rare    bool // what changes the pool is drawn as often as what uses it
	meets   bool // lines are done together under a scheduler: a cancel, which races all else, comes more often
}

// The themes: what a run may do besides acquiring, releasing and cancelling. A run that
// does a few things often finds more than one that does everything seldom.
const (
	genTGates uint64 = 1 << iota
	genTFailures
	genTPanics
	genTTime
	genTTries
	genTEndings
	genTSessions
	genTResize
	genTReset
	genTCreate
	genTClose
	genTAgain
	genTBursts
	genTChurn
	genThemes
)

// genWordsOf returns the numbers that rapid draws.
func genWordsOf(rt *rapid.T) func(label string) uint64 {
	word := rapid.Uint64()
	return func(label string) uint64 { return word.Draw(rt, label) }
}

func newGenDrawer(word func(label string) uint64, profile genProfile) *genDrawer {
	pcg := rand.NewPCG(0, 0)
	d := &genDrawer{word: word, pcg: pcg, rng: rand.New(pcg), profile: profile}
	d.drawTheme()
	if profile.books {
		d.theme |= genTClose | d.rng.Uint64()&(genTEndings|genTReset|genTResize|genTCreate)
	}
	return d
}

// drawTheme draws what is done from now on.
func (d *genDrawer) drawTheme() {
	d.fresh("theme")
	d.theme = d.rng.Uint64() & d.rng.Uint64() & (genThemes - 1) // a quarter of them each time
	if d.one(2) {
		d.theme |= genTGates
	}
	if d.profile.prompt {
		d.theme &^= genTGates
	}
}

// fresh draws the number from which the next choices follow.
func (d *genDrawer) fresh(label string) { d.pcg.Seed(d.word(label), 1) }

func (d *genDrawer) one(in int) bool { return d.rng.IntN(in) == 0 }

func (d *genDrawer) has(theme uint64) bool { return d.theme&theme != 0 }

// play draws and does steps until enough have been done.
func (d *genDrawer) play(r *genRun) *model.PromiseViolation {
	steps := 1 + d.rng.IntN(d.profile.steps)
	after := 0
	for range steps {
		d.fresh("step")
		var ops []genOp
		n := 1
		if d.profile.together > 1 && (d.profile.rounds || d.has(genTBursts)) {
			n += d.rng.IntN(d.profile.together)
		}
		for range n {
			ops = append(ops, d.draw(r, ops))
		}
		if v := r.step(ops...); v != nil {
			return v
		}
		if d.profile.rounds && d.one(6) {
			if v := r.round(); v != nil {
				return v
			}
		}
		if _, closed := r.judge.Closing(); closed {
			if after++; after > 6 {
				return nil
			}
		}
	}
	return nil
}

// round ends a burst: gates open, leases come back, and nothing more is asked for.
func (r *genRun) round() *model.PromiseViolation {
	for len(r.env.gated()) > 0 {
		if v := r.step(genOp{verb: genVOpen, gate: 1}); v != nil {
			return v
		}
	}
	for range r.clients {
		ids := r.holders()
		var ops []genOp
		for _, id := range ids {
			ops = append(ops, genOp{verb: genVRelease, client: id})
		}
		if len(ops) == 0 {
			return nil
		}
		if v := r.step(ops...); v != nil {
			return v
		}
	}
	return nil
}

// genChoice is a kind of line that can be drawn now.
type genChoice struct {
	weight int
	draw   func() genOp
}

// draw draws a line; those in front of it in the same step have not been done yet.
func (d *genDrawer) draw(r *genRun, front []genOp) genOp {
	busy := func(id int) bool {
		for _, o := range front {
			if o.client == id && o.verb != genVCancel {
				return true
			}
		}
		return false
	}
	free := 0
	var holders, cancels []int
	for i := range r.clients {
		c := &r.clients[i]
		switch id := i + 1; {
		case busy(id):
		case c.call != nil:
			if !c.call.ended && r.cancellable(c.call) {
				cancels = append(cancels, id)
			}
		case c.lease != nil:
			holders = append(holders, id)
		case free == 0:
			free = id
		}
	}
	choices := d.common(r, free, holders, cancels, d.again(r, busy))
	choices = append(choices, d.hooks(r, front)...)
	if free > 0 {
		choices = append(choices, d.admin(r, free)...)
	}
	total := 0
	for _, c := range choices {
		total += c.weight
	}
	n := d.rng.IntN(total)
	for _, c := range choices {
		if n -= c.weight; n < 0 {
			return c.draw()
		}
	}
	return genOp{verb: genVWait, wait: time.Millisecond}
}

// of returns one of ids.
func (d *genDrawer) of(ids []int) int { return ids[d.rng.IntN(len(ids))] }

// common lists the lines of plain callers.
func (d *genDrawer) common(r *genRun, free int, holders, cancels []int, again int) []genChoice {
	var cs []genChoice
	if free > 1 || free == 1 && len(r.clients) > 1 {
		cs = append(cs, genChoice{30, func() genOp { return d.acquire(r, free) }})
	}
	if free > 0 && d.has(genTTries) && genHas[TryAcquirer](r.pool) {
		cs = append(cs, genChoice{10, func() genOp { return genOp{verb: genVTry, client: free} }})
	}
	if free > 0 && d.profile.churns && d.has(genTChurn) {
		cs = append(cs, genChoice{40, func() genOp { return genOp{verb: genVChurn, client: free, max: 1 + d.rng.IntN(genMostTurns)} }})
	}
	if len(holders) > 0 {
		cs = append(cs, genChoice{25, func() genOp { return d.giveBack(r, d.of(holders)) }})
	}
	if len(cancels) > 0 {
		weight := 12
		if d.meets {
			weight = 30
		}
		cs = append(cs, genChoice{weight, func() genOp { return genOp{verb: genVCancel, client: d.of(cancels)} }})
	}
	if again > 0 {
		cs = append(cs, genChoice{6, func() genOp { return genOp{verb: genVAgain, client: again} }})
	}
	weight := 2
	if d.has(genTTime) {
		weight = 10
	}
	return append(cs, genChoice{weight, func() genOp { return genOp{verb: genVWait, wait: d.wait(r)} }})
}

// genMostTurns bounds how often a churn takes and gives back.
const genMostTurns = 30

// again returns a client that is not busy and can release a second time, or 0.
func (d *genDrawer) again(r *genRun, busy func(id int) bool) int {
	if !d.has(genTAgain) {
		return 0
	}
	for i := range r.clients {
		if !busy(i+1) && r.can(genOp{verb: genVAgain, client: i + 1}) {
			return i + 1
		}
	}
	return 0
}

// acquire draws an acquire.
func (d *genDrawer) acquire(r *genRun, id int) genOp {
	o := genOp{verb: genVAcquire, client: id}
	if d.has(genTSessions) && genHas[SessionAcquirer](r.pool) && d.one(2) {
		names := genSessions()
		o.session = names[d.rng.IntN(len(names))]
	}
	switch {
	case r.target.Spec.NoContext:
	case d.one(12):
		o.done = true
	case d.has(genTTime) && d.one(4):
		o.wait = d.wait(r)
	}
	return o
}

// giveBack draws how a lease ends.
func (d *genDrawer) giveBack(r *genRun, id int) genOp {
	if !d.has(genTEndings) || d.one(2) {
		return genOp{verb: genVRelease, client: id}
	}
	o := genOp{verb: genVDiscard, client: id}
	if r.can(o) && d.one(2) {
		return o
	}
	end := genOp{verb: genVEnd, client: id, ending: Ending(d.rng.IntN(int(Goexit) + 1))}
	if r.can(end) {
		return end
	}
	if r.can(o) {
		return o
	}
	return genOp{verb: genVRelease, client: id}
}

// wait draws a time: short, or around the limits that the target has.
func (d *genDrawer) wait(r *genRun) time.Duration {
	if r.target.RealTime {
		return time.Duration(1+d.rng.IntN(10)) * time.Millisecond
	}
	s := &r.target.Spec
	for _, limit := range []time.Duration{s.IdleTime, s.Lifetime, s.AcquireTimeout, s.SessionTTL} {
		if limit > 0 && d.one(4) {
			return limit/2 + time.Duration(d.rng.IntN(3))*(limit/2+s.Slack) + 1
		}
	}
	scale := []time.Duration{time.Millisecond, 100 * time.Millisecond, 10 * time.Second, 2 * time.Minute}
	return scale[d.rng.IntN(len(scale))] * time.Duration(1+d.rng.IntN(9))
}

// hooks lists the lines that steer hooks.
func (d *genDrawer) hooks(r *genRun, front []genOp) []genChoice {
	var cs []genChoice
	opened := false
	for _, o := range front {
		opened = opened || o.verb == genVOpen
	}
	if gates := r.env.gated(); len(gates) > 0 && !opened {
		cs = append(cs, genChoice{10, func() genOp { return d.open(r, gates) }})
	}
	steers := genTGates | genTFailures | genTPanics
	if !d.profile.prompt {
		steers |= genTTime
	}
	if d.has(steers) && !r.env.hasNoHooks() {
		cs = append(cs, genChoice{12, func() genOp { return d.plan(r) }})
	}
	return cs
}

// open draws which hook goes on, and how it ends.
func (d *genDrawer) open(r *genRun, gates []*genGate) genOp {
	o := genOp{verb: genVOpen, gate: 1 + d.rng.IntN(len(gates))}
	switch {
	case d.has(genTFailures) && d.one(2):
		o.how = genFail
	case d.has(genTPanics) && d.one(2):
		o.how = genPanics
	}
	if !r.can(o) {
		o.how = genPrompt
	}
	return o
}

// genMaxSlow bounds how long a slow hook takes.
const genMaxSlow = time.Second

// plan draws what a later hook will do.
func (d *genDrawer) plan(r *genRun) genOp {
	o := genOp{verb: genVNext, hook: genHook(d.rng.IntN(int(genHooks)))}
	if d.one(3) {
		o.hook = genCreate
	}
	hows := make([]genHow, 0, 8)
	add := func(theme uint64, how ...genHow) {
		if d.has(theme) {
			hows = append(hows, how...)
		}
	}
	add(genTGates, genGated, genGated, genGateCtx)
	add(genTFailures, genFail, genFail)
	add(genTPanics, genPanics)
	if !d.profile.prompt {
		add(genTTime, genSlow)
	}
	o.plan.how = hows[d.rng.IntN(len(hows))]
	if o.plan.how == genSlow {
		o.plan.slow = min(d.wait(r), genMaxSlow)
	}
	if !r.can(o) {
		o.plan = genPlan{}
	}
	return o
}

// admin lists the lines that change the pool. While a hook waits they come more often.
func (d *genDrawer) admin(r *genRun, free int) []genChoice {
	more, closes := 1, 2
	if d.rare {
		more, closes = 4, 5
	}
	if len(r.env.gated()) > 0 {
		more *= 3
	}
	var cs []genChoice
	add := func(theme uint64, weight int, o genOp) {
		o.client = free
		if d.has(theme) && r.can(o) {
			cs = append(cs, genChoice{weight * more, func() genOp { return o }})
		}
	}
	names := genSessions()
	add(genTSessions, 5, genOp{verb: genVEndSession, session: names[d.rng.IntN(len(names))]})
	size := 1 + d.rng.IntN(r.target.Capacity+2)
	if d.one(3) {
		size = 1
	}
	add(genTResize, 6, genOp{verb: genVResize, max: size})
	add(genTReset, 6, genOp{verb: genVReset})
	add(genTCreate, 6, genOp{verb: genVCreate})
	if closing, _ := r.judge.Closing(); !closing || d.one(3) {
		add(genTClose, closes, genOp{verb: genVClose})
		add(genTClose, closes, genOp{verb: genVShutdown, done: d.one(3)})
	}
	add(genTClose, 8, genOp{verb: genVReopen})
	return cs
}

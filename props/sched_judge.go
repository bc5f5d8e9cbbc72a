package props

import (
	"fmt"
	"slices"

	"github.com/poolproof/poolproof/model"
)

// A log is judged by looking for an order of what was called and answered in which the
// model could have done it: each call at some moment between its beginning and its return,
// each answer of a hook at some moment after it, each tick before the next. The judge goes
// through the log and keeps every way in which that is possible so far. It takes a step of
// the model only when the next entry needs one, so that there are few.

// The stages of a call on its way through the model.
const (
	schedAhead   = iota // has had no effect yet
	schedParked         // an acquire waits; a close waits
	schedUnseen         // an acquire was granted while it waited, and will be given back
	schedBinding        // the same, and the grant made a binding
	schedForced         // a shutdown has revoked the leases and waits
	schedDone           // can return with what it returned
)

const (
	schedMaxAnswers = 8
	schedMaxOwed    = 16
	// schedMostWays is how many ways the judge follows at once. More are no verdict.
	schedMostWays = 20_000
	// schedFewWays is how many are compared one by one.
	schedFewWays = 24
)

// schedWay is one way in which the pool can have come to where it is. Ways can be compared.
type schedWay struct {
	state   model.State
	token   uint64                      // of the last grant
	stage   [model.MaxClientSlots]uint8 // of the call that each client has open
	answers [schedMaxAnswers]model.Op   // of hooks, that have had no effect yet; sorted
	owed    [schedMaxOwed]model.Event   // what the model has shown and the log has not yet; sorted
	ticks   uint8                       // that have had no effect yet
}

// schedJudge judges one log.
type schedJudge struct {
	cfg     *model.Config
	log     *schedLog
	ways    []schedWay
	open    [model.MaxClientSlots]int // by client: number of its open call plus 1
	givenUp []bool                    // by call: its context has ended
	begins  map[model.Event]int       // beginnings of hooks in the rest of the log

	spare []schedWay
	todo  []schedWay
	seen  map[schedWay]struct{} // all of todo once there are many
	next  []model.Next
	steps int
}

// judge returns why no order of the log's operations fits the model, nil if one does.
func (l *schedLog) judge(cfg *model.Config) error {
	if l.judging == nil {
		l.judging = &schedJudge{begins: map[model.Event]int{}, todo: make([]schedWay, 0, schedFewWays)}
	}
	j := l.judging
	j.reset(cfg, l)
	for i := range l.entries {
		if e := &l.entries[i]; e.kind == schedHookBegan {
			j.begins[e.hook]++
		}
	}
	first := model.Initial(cfg)
	w := schedWay{state: first.State}
	if !j.take(&w, &first.Events) {
		return &schedVerdict{rule: "I5", text: fmt.Sprintf("a new pool should show %s", fullEventTexts(first.Events.All()))}
	}
	j.ways = append(j.ways, w)
	for i := range l.entries {
		if err := j.entry(&l.entries[i]); err != nil {
			return err
		}
	}
	return nil
}

// reset forgets the log that was judged before.
func (j *schedJudge) reset(cfg *model.Config, l *schedLog) {
	clear(j.begins)
	clear(j.givenUp)
	*j = schedJudge{
		cfg: cfg, log: l, begins: j.begins, givenUp: slices.Grow(j.givenUp[:0], len(l.calls))[:len(l.calls)],
		ways: j.ways[:0], spare: j.spare[:0], todo: j.todo[:0], next: j.next[:0],
	}
}

// entry goes on by one entry.
func (j *schedJudge) entry(e *schedEntry) error {
	switch e.kind {
	case schedCalled:
		j.open[j.log.calls[e.call].client()-1] = e.call + 1
	case schedGivenUp:
		j.givenUp[e.call] = true
	case schedReturned:
		slot := j.log.calls[e.call].client() - 1
		if !j.need(func(w *schedWay) bool { return w.stage[slot] == schedDone }) {
			return j.verdict(e)
		}
		for i := range j.ways {
			j.ways[i].stage[slot] = schedAhead
		}
		j.open[slot] = 0
		j.unite()
	case schedHookBegan:
		if !j.need(func(w *schedWay) bool { return w.owes(e.hook) }) {
			return j.verdict(e)
		}
		j.begins[e.hook]--
		for i := range j.ways {
			j.ways[i].settle(e.hook)
		}
		j.unite()
	case schedHookEnded:
		cancelled := schedCancelled(e.answer)
		if e.cancelled && !j.need(func(w *schedWay) bool { return w.owes(cancelled) }) {
			return j.verdict(e)
		}
		for i := range j.ways {
			j.ways[i].settle(cancelled)
			if !j.ways[i].answer(e.answer) {
				return &schedVerdict{rule: "I2", text: fmt.Sprintf("more hooks than workers: %v", e.answer)}
			}
		}
		j.unite()
	case schedTick:
		if !j.need(j.still) {
			return j.verdict(e)
		}
		for i := range j.ways {
			j.ways[i].ticks++
		}
	case schedRest:
		if !j.need(func(w *schedWay) bool { return j.still(w) && j.matches(w, e.rest) }) {
			return j.verdict(e)
		}
	}
	return nil
}

// need leaves the ways that satisfy, those that have to go on for that included. It
// returns false, and leaves the ways as they were, if there are none.
func (j *schedJudge) need(satisfied func(*schedWay) bool) bool {
	if j.all(satisfied) {
		return true
	}
	found := j.spare[:0]
	j.todo = append(j.todo[:0], j.ways...)
	j.seen = nil
	for n := 0; n < len(j.todo); n++ {
		w := &j.todo[n] // stays what it is, even if todo moves
		if satisfied(w) {
			if !slices.Contains(found, *w) {
				found = append(found, *w)
			}
			continue
		}
		if n >= schedMostWays {
			return false
		}
		j.expand(w)
	}
	if len(found) == 0 {
		return false
	}
	j.ways, j.spare = found, j.ways
	return true
}

func (j *schedJudge) all(satisfied func(*schedWay) bool) bool {
	for i := range j.ways {
		if !satisfied(&j.ways[i]) {
			return false
		}
	}
	return true
}

// unite drops ways that have become equal.
func (j *schedJudge) unite() {
	if len(j.ways) < 2 {
		return
	}
	kept := j.ways[:0]
	for i := range j.ways {
		if !slices.Contains(kept, j.ways[i]) {
			kept = append(kept, j.ways[i])
		}
	}
	j.ways = kept
}

// push adds a way to go on from.
func (j *schedJudge) push(w *schedWay) {
	switch {
	case len(j.todo) < schedFewWays:
		if slices.Contains(j.todo, *w) {
			return
		}
		j.todo = append(j.todo, *w)
		return
	case j.seen == nil:
		j.seen = make(map[schedWay]struct{}, 2*len(j.todo))
		for i := range j.todo {
			j.seen[j.todo[i]] = struct{}{}
		}
	}
	if _, known := j.seen[*w]; !known {
		j.seen[*w] = struct{}{}
		j.todo = append(j.todo, *w)
	}
}

// expand pushes every way that is one step further than w.
func (j *schedJudge) expand(w *schedWay) {
	for slot, call := range j.open {
		if call > 0 && w.stage[slot] != schedDone {
			j.advance(w, slot, call-1)
		}
	}
	for i, op := range w.answers {
		if op.Kind == model.OpNone {
			break
		}
		to := *w
		copy(to.answers[i:], w.answers[i+1:])
		to.answers[schedMaxAnswers-1] = model.Op{}
		j.step(&to, op)
	}
	if w.ticks > 0 {
		to := *w
		to.ticks--
		j.step(&to, model.Op{Kind: model.OpTick})
	}
}

// advance pushes the ways in which an open call goes on by one stage.
func (j *schedJudge) advance(w *schedWay, slot, call int) {
	c := &j.log.calls[call]
	to := *w
	set := func(stage uint8) { to.stage[slot] = stage }
	ended := j.givenUp[call] || c.stale
	switch stage := w.stage[slot]; {
	case c.op.Kind == model.OpNone || c.verb == schedResize && c.closed:
		if j.observes(w, c, ended) {
			set(schedDone)
			j.push(&to)
		}
	case stage == schedAhead && c.acquires():
		if c.reason == model.ReasonCancelled && ended {
			set(schedDone)
			j.push(&to)
		}
		if !c.stale {
			set(schedParked)
			j.step(&to, c.op)
		}
	case stage == schedAhead && c.closes():
		set(schedParked)
		j.step(&to, c.op)
	case stage == schedAhead:
		if c.verb == schedResize && w.state.Closing() {
			return
		}
		set(schedDone)
		j.step(&to, c.op)
	case stage == schedParked && c.closes():
		if ended {
			set(schedForced)
			j.step(&to, model.Op{Kind: model.OpForce})
		}
	case stage == schedParked && ended && c.reason == model.ReasonCancelled:
		j.step(&to, model.Op{Kind: model.OpCancel, Client: c.client()})
	case (stage == schedUnseen || stage == schedBinding) && ended:
		op := model.Op{Kind: model.OpGiveBack, Client: c.client()}
		if stage == schedBinding {
			op.Session = c.op.Session
		}
		set(schedDone)
		j.step(&to, op)
	}
}

// observes tells whether a call that changes nothing can return what it did in w's state.
func (j *schedJudge) observes(w *schedWay, c *schedCall, ended bool) bool {
	t := w.state.Tally()
	switch c.verb {
	case schedStat:
		return c.tally == tallyOf(t)
	case schedReady:
		switch {
		case c.closed:
			return t.Closing
		case c.reason == model.ReasonCancelled:
			return ended
		}
		return !t.Closing && t.Idle+t.Checking+t.Leased >= max(1, t.MinSize)
	case schedResize:
		return t.Closing
	}
	return true
}

// tallyOf is the model's tally in the form of a Subject's.
func tallyOf(t model.Tally) Tally {
	return Tally{
		Live: t.Live(), Starting: t.Starting, Idle: t.Idle, Checking: t.Checking, Leased: t.Leased,
		Stopping: t.Stopping, Waiting: t.Waiting,
	}
}

// step pushes the ways in which op, done in w, can end. w is used up.
func (j *schedJudge) step(w *schedWay, op model.Op) {
	j.steps++
	from := len(j.next)
	j.next = model.AppendStep(j.next, j.cfg, &w.state, op)
	for i := from; i < len(j.next); i++ {
		to := *w
		to.state = j.next[i].State
		if j.take(&to, &j.next[i].Events) {
			j.push(&to)
		}
	}
	j.next = j.next[:from]
}

// take enters what the model shows into a way. It returns false if the log, which is known
// to its end, never shows that.
func (j *schedJudge) take(w *schedWay, events *model.Events) bool {
	token := w.token
	for i := range events.Len() {
		ev := events.At(i)
		switch ev.Kind {
		case model.EvGranted:
			if !j.grants(w, ev, token) {
				return false
			}
		case model.EvRefused:
			c := j.callOf(ev.Client)
			if c == nil || c.aborted || c.granted || c.reason != ev.Reason {
				return false
			}
			w.stage[ev.Client-1] = schedDone
		case model.EvClosed:
			if !j.ends(w, ev.Reason == model.ReasonForced) {
				return false
			}
		case model.EvRevoked:
		case model.EvStartCancelled, model.EvCheckCancelled, model.EvTellCancelled:
			if !w.answered(ev) && !w.owe(ev) {
				return false
			}
		default:
			if w.count(ev) >= j.begins[ev] || !w.owe(ev) {
				return false
			}
		}
	}
	return true
}

// callOf returns the open call of a client, nil if it has none.
func (j *schedJudge) callOf(c model.Client) *schedCall {
	if n := j.open[c-1]; n > 0 {
		return &j.log.calls[n-1]
	}
	return nil
}

// grants enters a grant into a way. last is the token of the last one before this change.
func (j *schedJudge) grants(w *schedWay, ev model.Event, last uint64) bool {
	c := j.callOf(ev.Client)
	stage := &w.stage[ev.Client-1]
	switch {
	case c == nil || c.aborted:
		return false
	case c.granted:
		if c.worker != ev.Worker || !c.blind && c.fresh != ev.Fresh || c.token != 0 && c.token <= last {
			return false
		}
		w.token = max(w.token, c.token)
		*stage = schedDone
		return true
	case c.reason != model.ReasonCancelled || *stage != schedParked:
		return false
	case ev.Fresh:
		*stage = schedBinding
	default:
		*stage = schedUnseen
	}
	return true
}

// ends enters the end of the pool into a way: every Close and Shutdown returns.
func (j *schedJudge) ends(w *schedWay, forced bool) bool {
	for slot, n := range j.open {
		if n == 0 || w.stage[slot] == schedAhead || w.stage[slot] == schedDone {
			continue
		}
		c := &j.log.calls[n-1]
		if !c.closes() {
			continue
		}
		if c.aborted || c.forced != forced {
			return false
		}
		w.stage[slot] = schedDone
	}
	return true
}

// still tells whether a way is at rest: all that was asked for has had its effect, and all
// that the model has shown was seen.
func (j *schedJudge) still(w *schedWay) bool {
	if w.ticks > 0 || w.answers[0].Kind != model.OpNone {
		return false
	}
	for _, ev := range w.owed {
		switch ev.Kind {
		case model.EvStartBegun, model.EvStopBegun, model.EvCheckBegun, model.EvTellBegun:
			return false
		}
	}
	for slot, n := range j.open {
		if n == 0 {
			continue
		}
		c := &j.log.calls[n-1]
		ended := j.givenUp[n-1] || c.stale
		switch w.stage[slot] {
		case schedAhead:
			if c.verb != schedReady || j.observes(w, &schedCall{verb: schedReady}, false) || w.state.Closing() || ended {
				return false
			}
		case schedParked:
			if ended {
				return false
			}
		case schedForced:
		default:
			return false
		}
	}
	return true
}

// matches compares a way at rest with what was seen.
func (j *schedJudge) matches(w *schedWay, seen *schedStill) bool {
	if seen.counted && seen.tally != tallyOf(w.state.Tally()) {
		return false
	}
	for i := range j.cfg.Clients {
		if held := seen.held[i]; held > 0 && (held == 2) != w.state.Revoked(model.Client(i+1)) {
			return false
		}
	}
	ended := 0
	for _, ev := range w.owed {
		if ev.Kind == model.EvNone {
			break
		}
		if !slices.Contains(seen.ended, ev) {
			return false
		}
		ended++
	}
	return ended == len(seen.ended)
}

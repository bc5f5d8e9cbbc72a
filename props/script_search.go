package props

import (
	"slices"

	"github.com/poolproof/poolproof/model"
)

// genSearcher tries all scripts of some length, one at each run. The run chooses each line
// among those that can be done at that moment; the path of its choices leads to the next
// script.
//
// Two kinds of scripts are left out, for another one does the same: of the free clients the
// first one calls, and what a hook will do is said just before the line that calls it.
type genSearcher struct {
	words  []genOp       // what a line may say, without its client
	most   [genVerbs]int // how many lines may have that verb; acquires and releases are free
	rare   int           // how many lines may neither acquire nor release
	bursts bool          // lines may be done together
	lines  int

	used [genVerbs]int // how many lines have that verb so far
	path []int         // the choice taken at each line
	wide []int         // how many there were
}

// search looks for a finding that is shorter than the best, the shortest first: with two
// lines that neither acquire nor release, for few faults need more, then with any number,
// and then with lines done together, if the best has such lines.
func (s *genShrinker) search() bool {
	bursts := slices.ContainsFunc(s.best.ops, func(o genOp) bool { return o.together })
	w := genSearcher{words: genWords(s.best.ops)}
	w.most = w.frugal(s.best.ops)
	for pass := range s.searched {
		w.rare, w.bursts = len(s.best.ops), pass == 2
		if pass == 0 {
			w.rare = 2
		}
		s.left = genForPass
		if (bursts || !w.bursts) && s.pass(&w, &s.searched[pass]) {
			return true
		}
	}
	return false
}

// pass tries the scripts of each length from one on, until they are as long as the best.
func (s *genShrinker) pass(w *genSearcher, from *int) bool {
	for ; *from < len(s.best.ops); *from++ {
		w.lines, w.path, w.wide = *from, nil, nil
		for more := true; more; more = w.advance() {
			if s.spent() {
				return false
			}
			f := s.replay(s.hasty, w.play)
			if f != nil && f.unfit { // it may still be running, on w
				return false
			}
			if s.same(f) && s.take(f) {
				return true
			}
		}
	}
	return false
}

// genWords lists what the lines of a script say, the simpler forms of it, and what is so
// plain that it often says the same in fewer lines: a close, and a create that is held.
func genWords(ops []genOp) []genOp {
	words := []genOp{
		{verb: genVAcquire},
		{verb: genVRelease},
		{verb: genVDiscard},
		{verb: genVNext, hook: genCreate, plan: genPlan{how: genGated}},
		{verb: genVOpen, gate: 1},
		{verb: genVClose},
	}
	add := func(o genOp) {
		o.client, o.together = 0, false
		if !slices.Contains(words, o) {
			words = append(words, o)
		}
	}
	for _, o := range ops {
		add(o)
	}
	for i := 0; i < len(words); i++ { // words grows
		switch o := words[i]; o.verb {
		case genVWait, genVResize: // the script has the least that does
			continue
		case genVNext: // a hook that is let go on can end like that, too
			if o.plan.how == genFail || o.plan.how == genPanics {
				add(genOp{verb: genVOpen, gate: 1, how: o.plan.how})
			}
		case genVOpen:
			if o.how != genPrompt {
				add(genOp{verb: genVNext, hook: genCreate, plan: genPlan{how: o.how}})
			}
		}
		for _, o := range words[i].simpler() {
			add(o)
		}
	}
	return words
}

// frugal bounds how often a verb is used: as often as in the script or its simpler forms,
// and at least once.
func (w *genSearcher) frugal(ops []genOp) (most [genVerbs]int) {
	for _, word := range w.words {
		most[word.verb] = 1
	}
	var inScript [genVerbs]int
	for _, o := range ops {
		inScript[o.verb]++
		for _, simpler := range o.simpler() {
			if simpler.verb != o.verb {
				inScript[simpler.verb]++
			}
		}
	}
	for v, n := range inScript {
		most[v] = max(most[v], n)
	}
	return most
}

// play does the lines on the path, and takes the first choice beyond its end.
func (w *genSearcher) play(r *genRun) *model.PromiseViolation {
	w.used = [genVerbs]int{}
	var front []genOp // to be done together with the next line
	for at := range w.lines {
		choices := w.choices(r, front, at == w.lines-1)
		if at == len(w.path) {
			w.path, w.wide = append(w.path, 0), append(w.wide, 0)
		}
		w.wide[at] = len(choices)
		if w.path[at] >= len(choices) { // none, or the pool did not do the same again
			w.cut(at + 1)
			return nil
		}
		o := choices[w.path[at]]
		w.used[o.verb]++
		front = append(front, o)
		if o.together {
			continue
		}
		v := r.step(front...)
		if v != nil || o.verb != genVNext && r.env.planned() {
			w.cut(at + 1)
			return v
		}
		front = front[:0]
	}
	return nil
}

// cut says that the script ends there: whatever comes next changes nothing.
func (w *genSearcher) cut(lines int) { w.path, w.wide = w.path[:lines], w.wide[:lines] }

// advance goes to the next script; false if there is none.
func (w *genSearcher) advance() bool {
	for n := len(w.path); n > 0; n-- {
		if w.path[n-1]++; w.path[n-1] < w.wide[n-1] {
			w.cut(n)
			return true
		}
	}
	return false
}

// allows reports whether one more line may have that verb.
func (w *genSearcher) allows(v genVerb) bool {
	if v == genVAcquire || v == genVRelease {
		return true
	}
	rare := -w.used[genVAcquire] - w.used[genVRelease]
	for _, n := range w.used {
		rare += n
	}
	return rare < w.rare && w.used[v] < w.most[v]
}

// choices lists the lines that can be done now, together with those in front.
func (w *genSearcher) choices(r *genRun, front []genOp, last bool) []genOp {
	var list []genOp
	add := func(o genOp) {
		if !r.can(o) || last && o.verb == genVNext {
			return
		}
		list = append(list, o)
		if w.bursts && !last && o.verb != genVNext && o.verb != genVWait {
			o.together = true
			list = append(list, o)
		}
	}
	for _, o := range w.words {
		switch {
		case !w.allows(o.verb):
		case o.global():
			add(o)
		default:
			for _, id := range r.callers(front, o.verb == genVAgain) {
				o.client = id
				add(o)
			}
		}
	}
	return list
}

// callers lists the clients that are busy or hold a lease, and of the free ones the first
// or all, without those in front.
func (r *genRun) callers(front []genOp, all bool) []int {
	var ids []int
	asked := false
	for i := range r.clients {
		if slices.ContainsFunc(front, func(o genOp) bool { return o.client == i+1 }) {
			continue
		}
		if free := r.clients[i].call == nil && r.clients[i].lease == nil; free {
			if asked && !all {
				continue
			}
			asked = true
		}
		ids = append(ids, i+1)
	}
	return ids
}

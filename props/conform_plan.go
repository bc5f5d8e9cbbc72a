package props

import (
	"sort"

	"github.com/poolproof/poolproof/model"
)

// conformPlan says where on a graph to go next so that every pair is done once. It knows
// the graph and what pools have shown of it so far, which may be less: a pool need not
// make every choice that the model leaves free.
type conformPlan struct {
	graph *model.Graph

	done []bool  // of each pair
	seen []bool  // of each edge: a pool took it
	went []int32 // of each pair: the edge that a pool took last; conformNever: it was not done
	shut []bool  // of each state: the pool is closing
	left []uint8 // of each state: pairs that are not done, but for those that close the pool
	ends []uint8 // of each state: pairs that are not done and close the pool

	come []conformCome // of each state: how to get there from the new pool
	todo int           // pairs that are not done
	open int           // of these, those that neither close the pool nor find it closing
	met  []int32       // states that a pool was in, in the order in which they were met
	next int           // of these, the first that may have pairs left
	tour conformTour
}

// conformNever marks pairs that were never done, and conformHidden those of which it is
// not known where they led.
const (
	conformNever  = -1
	conformHidden = -2
)

// conformCome is the last step of a known way from the new pool to a state.
type conformCome struct {
	from  int32
	pair  int32
	depth int32 // steps; -1: no way is known
}

// conformTour is the memory of a search.
type conformTour struct {
	mark  []int32 // of each state: the search that reached it last
	by    []int32 // the pair by which it did
	from  []int32 // from this state
	queue []int32
	n     int32 // of the search
}

// conformReach is how many states a search for pairs that are left visits before it is
// cheaper to begin with another pool.
const conformReach = 1500

func newConformPlan(g *model.Graph) *conformPlan {
	p := &conformPlan{
		graph: g,
		done:  make([]bool, g.Pairs()), seen: make([]bool, g.Edges()), went: make([]int32, g.Pairs()),
		shut: make([]bool, g.States()), left: make([]uint8, g.States()), ends: make([]uint8, g.States()), come: make([]conformCome, g.States()),
		tour: conformTour{mark: make([]int32, g.States()), by: make([]int32, g.States()), from: make([]int32, g.States())},
	}
	for pair := range p.went {
		p.went[pair] = conformNever
	}
	for n := range p.left {
		s := g.State(n)
		p.shut[n] = s.Closing()
		p.come[n].depth = -1
		for pair, end := g.PairsOf(n); pair < end; pair++ {
			p.count(n, pair, 1)
		}
	}
	return p
}

// counter returns the count that a pair of state n belongs to.
func (p *conformPlan) counter(n, pair int) *uint8 {
	if p.closes(n, pair) {
		return &p.ends[n]
	}
	return &p.left[n]
}

// count adds to the numbers of pairs that are not done.
func (p *conformPlan) count(n, pair, by int) {
	p.todo += by
	if !p.shut[n] && !p.closes(n, pair) {
		p.open += by
	}
	*p.counter(n, pair) += uint8(by)
}

// closes says that a pair of state n closes the pool, so that there is no way back.
func (p *conformPlan) closes(n, pair int) bool {
	kind := p.graph.Op(pair).Kind
	return !p.shut[n] && (kind == model.OpClose || kind == model.OpForce)
}

// arrive notes that a pool is in state n for the first time, or by a shorter way.
func (p *conformPlan) arrive(n, from, pair int) (first bool) {
	depth := int32(0)
	if pair >= 0 {
		depth = p.come[from].depth + 1
	}
	c := &p.come[n]
	first = c.depth < 0
	if first {
		p.met = append(p.met, int32(n))
	}
	if first || depth < c.depth {
		*c = conformCome{int32(from), int32(pair), depth}
	}
	return first
}

// did notes that a pair of state n was done.
func (p *conformPlan) did(n, pair int) {
	if !p.done[pair] {
		p.done[pair] = true
		p.count(n, pair, -1)
	}
	if p.went[pair] == conformNever {
		p.went[pair] = conformHidden
	}
}

// took notes that a pair of state n, which was done, led to state to. It reports false if
// the graph knows no such edge.
func (p *conformPlan) took(pair, to int) bool {
	for edge, end := p.graph.EdgesOf(pair); edge < end; edge++ {
		if p.graph.To(edge) == to {
			p.seen[edge] = true
			p.went[pair] = int32(edge)
			return true
		}
	}
	return false
}

// here returns a pair of state n that is left; one that closes the pool only if closing is
// set and nothing else is left.
func (p *conformPlan) here(n int, closing bool) (pair int, ok bool) {
	if p.left[n] == 0 && (!closing || p.ends[n] == 0) {
		return 0, false
	}
	for pair, end := p.graph.PairsOf(n); pair < end; pair++ {
		if !p.done[pair] && (p.left[n] == 0 || !p.closes(n, pair)) {
			return pair, true
		}
	}
	return 0, false
}

// near returns pairs that lead from state n to the nearest state that has pairs left, if
// there is one within reach. Pools are closed last: states in which only that is left do
// not count unless closing.
func (p *conformPlan) near(n int, closing bool) (path []int32) {
	if !closing && !p.shut[n] && p.open == 0 {
		return nil
	}
	t := &p.tour
	t.n++
	t.queue = append(t.queue[:0], int32(n))
	t.mark[n] = t.n
	for i := 0; i < len(t.queue) && len(t.queue) < conformReach; i++ {
		at := t.queue[i]
		for pair, end := p.graph.PairsOf(int(at)); pair < end; pair++ {
			if p.went[pair] < 0 {
				continue
			}
			to := int32(p.graph.To(int(p.went[pair])))
			if t.mark[to] == t.n {
				continue
			}
			t.mark[to], t.by[to], t.from[to] = t.n, int32(pair), at
			if p.left[to] > 0 || closing && p.ends[to] > 0 {
				return t.path(int32(n), to)
			}
			t.queue = append(t.queue, to)
		}
	}
	return nil
}

// path returns the pairs that lead from one state to another that a search has reached.
func (t *conformTour) path(from, to int32) (path []int32) {
	for ; to != from; to = t.from[to] {
		path = append(path, t.by[to])
	}
	reverse(path)
	return path
}

func reverse(path []int32) {
	for i, j := 0, len(path)-1; i < j; i, j = i+1, j-1 {
		path[i], path[j] = path[j], path[i]
	}
}

// goal returns the pairs that lead from the new pool to the first state that a pool was in
// and that has pairs left.
func (p *conformPlan) goal() (path []int32, ok bool) {
	for ; p.next < len(p.met); p.next++ {
		n := int(p.met[p.next])
		if p.left[n] > 0 || p.ends[n] > 0 {
			return p.wayTo(n), true
		}
	}
	return nil, false
}

// wayTo returns the shortest known way from the new pool to state n.
func (p *conformPlan) wayTo(n int) (path []int32) {
	for at := int32(n); p.come[at].pair >= 0; at = p.come[at].from {
		path = append(path, p.come[at].pair)
	}
	reverse(path)
	return path
}

// shorten finds the shortest ways from the new pool to all states that were met, as far as
// pools showed them last.
func (p *conformPlan) shorten() {
	if len(p.met) == 0 {
		return
	}
	for _, n := range p.met[1:] {
		p.come[n].depth = int32(len(p.met))
	}
	ends := append([]int32(nil), p.met[0])
	for i := 0; i < len(ends); i++ {
		n := ends[i]
		for pair, end := p.graph.PairsOf(int(n)); pair < end; pair++ {
			if p.went[pair] < 0 {
				continue
			}
			to := int32(p.graph.To(int(p.went[pair])))
			if c := &p.come[to]; c.depth == int32(len(p.met)) {
				*c = conformCome{n, int32(pair), p.come[n].depth + 1}
				ends = append(ends, to)
			}
		}
	}
}

// stateOf returns the state that a pair belongs to.
func (p *conformPlan) stateOf(pair int) int {
	return sort.Search(p.graph.States(), func(n int) bool {
		_, end := p.graph.PairsOf(n)
		return pair < end
	})
}

// giveUp makes goal pass over the state that it returned last.
func (p *conformPlan) giveUp() { p.next++ }

// again marks pairs that were done, and could have led elsewhere than was seen, as left;
// it returns how many.
func (p *conformPlan) again() (pairs int) {
	p.next = 0
	for _, n := range p.met {
		for pair, end := p.graph.PairsOf(int(n)); pair < end; pair++ {
			if p.done[pair] && !p.allSeen(pair) {
				p.done[pair] = false
				p.count(int(n), pair, 1)
				pairs++
			}
		}
	}
	return pairs
}

func (p *conformPlan) allSeen(pair int) bool {
	for edge, end := p.graph.EdgesOf(pair); edge < end; edge++ {
		if !p.seen[edge] {
			return false
		}
	}
	return true
}

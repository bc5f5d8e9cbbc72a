package model

import (
	"errors"
	"fmt"
	"slices"
)

// Graph is every state that a pool with some configuration can reach, up to renaming of
// workers, sessions and clients, and where each operation leads from it.
//
// States and pairs (a state and an operation that is offered in it) are numbered from 0;
// the new pool is state 0. Of clients and sessions that are alike, the operations of one
// are pairs. A Graph does not change, and is safe for concurrent use.
type Graph struct {
	x     *explorer
	first []int32 // pair of each state; one more than there are states
	ops   []Op    // of each pair, in the names of the state's representative
	lead  []int32 // where in to each pair's states begin; one more than there are pairs
	to    []int32 // the states that a pair can lead to, each once
}

// NewGraph explores the model with cfg. It fails if a bound is hit, and if the model
// breaks a promise.
func NewGraph(cfg *Config, bounds Bounds) (*Graph, error) {
	x, err := newExplorer(cfg, bounds)
	if err != nil {
		return nil, err
	}
	g := &Graph{x: x}
	x.visit = func(_ int, _ *State, ops []Op) {
		g.first = append(g.first, int32(len(g.ops)))
		g.ops = append(g.ops, ops...)
	}
	x.lead = func(op Op, to int) {
		if n := len(g.lead); n == 0 || g.ops[n-1] != op || n <= int(g.first[len(g.first)-1]) {
			g.lead = append(g.lead, int32(len(g.to)))
		}
		if since := g.to[g.lead[len(g.lead)-1]:]; !slices.Contains(since, int32(to)) {
			g.to = append(g.to, int32(to))
		}
	}
	r := x.run()
	switch {
	case r.Counterexample != nil:
		return nil, fmt.Errorf("model: no graph of a model with a fault: %w", r.Counterexample.Err)
	case r.BoundHit:
		return nil, errors.New("model: a bound was hit; the graph is not complete")
	}
	g.first = append(g.first, int32(len(g.ops)))
	g.lead = append(g.lead, int32(len(g.to)))
	return g, nil
}

// Report is that of the exploration.
func (g *Graph) Report() *Report { return &g.x.report }

// Config is the configuration, which the caller must not change.
func (g *Graph) Config() *Config { return g.x.cfg }

// States is the number of states.
func (g *Graph) States() int { return len(g.first) - 1 }

// Pairs is the number of pairs.
func (g *Graph) Pairs() int { return len(g.ops) }

// Edges is the number of transitions: pairs, each with a state that it can lead to.
func (g *Graph) Edges() int { return len(g.to) }

// PairsOf returns the first pair of a state, and the first one after its pairs.
func (g *Graph) PairsOf(state int) (from, end int) { return int(g.first[state]), int(g.first[state+1]) }

// Op is the operation of a pair, in the names of [Graph.State].
func (g *Graph) Op(pair int) Op { return g.ops[pair] }

// EdgesOf returns the first edge of a pair, and the first one after its edges.
func (g *Graph) EdgesOf(pair int) (from, end int) { return int(g.lead[pair]), int(g.lead[pair+1]) }

// To is the state that an edge leads to.
func (g *Graph) To(edge int) int { return int(g.to[edge]) }

// State is the representative of a state.
func (g *Graph) State(state int) State {
	k := g.x.known.at(state)
	return g.x.layout.unpack(&k)
}

// Find returns the number of the state that s is one of, and what it calls those whom the
// representative knows by other names; ok is false if the graph does not have it.
func (g *Graph) Find(s *State) (state int, names Names, ok bool) {
	var k key
	n := naming{workers: [...]uint8{0, 1, 2, 3}}
	g.x.layout.packNamed(s, &n, &k)
	if state = g.x.known.find(&k); state < 0 {
		return 0, Names{}, false
	}
	for i := range s.live {
		names.workers[i] = s.workers[n.workers[i]].id
	}
	for i := range g.x.cfg.Sessions {
		names.sessions[i] = Session(n.sessions[i]) + 1
	}
	names.known, names.used = s.known(), g.x.cfg.Sessions
	names.nameClients(s, &n, g.x.cfg.Clients)
	return state, names, true
}

// Names are the names that a state has for those of a graph's representative.
type Names struct {
	workers  [MaxWorkerSlots]Worker
	sessions [MaxSessionSlots]Session
	clients  [MaxClientSlots]Client

	known, used int // sessions that are in the table, and all; the others are alike
	busy, all   int // clients that wait or hold a lease, and all; the others are alike
}

// Turn gives those who are alike, unknown sessions and clients that are out, each other's
// names, turn times round: for the model that is the same, for a pool it need not be.
func (n *Names) Turn(turn int) {
	rotate(n.sessions[n.known:n.used], turn)
	rotate(n.clients[n.busy:n.all], turn)
}

func rotate[T any](list []T, by int) {
	if len(list) < 2 {
		return
	}
	for range by % len(list) {
		first := list[0]
		copy(list, list[1:])
		list[len(list)-1] = first
	}
}

// nameClients orders the clients as unpack does: waiters, holders, those whose lease is
// revoked, and the others.
func (n *Names) nameClients(s *State, order *naming, clients int) {
	at := 0
	put := func(slot uint8) {
		n.clients[at] = Client(slot) + 1
		at++
	}
	for _, c := range s.queue[:s.waiting] {
		put(c)
	}
	for _, slot := range order.workers[:s.live] {
		if w := &s.workers[slot]; w.phase == phaseLeased {
			put(w.holder - 1)
		}
	}
	for _, p := range [...]clientPhase{clientRevoked, clientOut} {
		for i := range clients {
			if s.clients[i].phase == p {
				put(uint8(i))
			}
		}
		if p == clientRevoked {
			n.busy = at
		}
	}
	n.all = at
}

// Op returns op, which is in the representative's names, in those of the state.
func (n *Names) Op(op Op) Op {
	if op.Client > 0 {
		op.Client = n.clients[op.Client-1]
	}
	if op.Session > 0 {
		op.Session = n.sessions[op.Session-1]
	}
	if op.Worker > 0 {
		op.Worker = n.workers[op.Worker-1]
	}
	return op
}

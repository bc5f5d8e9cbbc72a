package layers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/fallback"
	"github.com/poolproof/poolproof/pool/process"
)

// The rules that a chain is held to.
const (
	ruleOnce    = "a call runs once and is told of it, or does not run and is told why"
	ruleLayer   = "the result names the layer that served"
	ruleSession = "a strict session stays with its worker and what that knows, or its loss is reported"
	ruleTyped   = "a refusal is one of those that can happen here"
	ruleRest    = "nothing is left when no client calls any more"
)

// visitor is a client that keeps count of its session and objects to whatever cannot be.
type visitor struct {
	tr       *trial
	name     string
	sessions bool // it has sessions, one after the other

	mu     sync.Mutex
	layer  string // guarded by mu: where its session is; for one without, where it was last served
	worker member // of its session; nil: none
	count  int    // of its session's calls
}

// at returns the layer that its session is on.
func (v *visitor) at() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.layer
}

func (v *visitor) set(layer string, worker member, count int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.layer, v.worker, v.count = layer, worker, count
}

// leave ends the session.
func (v *visitor) leave() {
	v.tr.chain.EndSession(v.id())
	v.set("", nil, 0)
}

func (v *visitor) id() pool.SessionID {
	if !v.sessions {
		return ""
	}
	return pool.SessionID(v.name)
}

// visit makes one call and judges it: the worker must know what was stored last.
func (v *visitor) visit() {
	const visits = 10 // of a session
	if v.count == visits {
		v.leave()
	}
	ran := 0
	var by member
	var knew json.RawMessage
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	served, err := v.tr.chain.Do(ctx, v.id(), func(ctx context.Context, m member) error {
		ran++
		by = m
		v.tr.book.meet(m)
		if err := m.Call(ctx, "get", object{"session": v.name, "key": "count"}, &knew); err != nil {
			return err
		}
		return m.Call(ctx, "put", object{"session": v.name, "key": "count", "value": v.count + 1}, nil)
	})
	b := v.tr.book
	b.outcome(served, err)
	if ran > 1 || (ran == 1) != (served.Layer != "") || ran == 0 && err == nil {
		b.object(ruleOnce, "%s: it ran %d times, was served by %q, and told %v", v.name, ran, served.Layer, err)
		v.leave()
		return
	}
	if ran == 1 && served.Layer != layerOf(by) {
		b.object(ruleLayer, "%s: served by %s, said to be by %s", v.name, layerOf(by), served.Layer)
	}
	switch {
	case err != nil:
		v.refused(err)
	case !v.sessions:
		v.set(layerOf(by), nil, 0)
	default:
		v.judge(served, by, string(knew))
	}
}

// refused judges an error, after which the client begins anew.
func (v *visitor) refused(err error) {
	known := slices.ContainsFunc([]error{
		fallback.ErrSessionHeld, pool.ErrSessionLost, process.ErrBroken,
	}, func(is error) bool { return errors.Is(err, is) })
	if !known || !v.sessions && !errors.Is(err, process.ErrBroken) {
		v.tr.book.object(ruleTyped, "%s: %v", v.name, err)
	}
	v.leave()
}

// judge compares an answer with what the session has done.
func (v *visitor) judge(served fallback.Served, by member, knew string) {
	want := "null"
	if v.count > 0 {
		want = fmt.Sprint(v.count)
	}
	if v.worker != nil && (v.worker != by || served.Fresh) || knew != want || served.Moved {
		v.tr.book.object(ruleSession, "%s: after %d calls on %s: on %s, another worker: %v, fresh: %v, moved: %v; it knew %s",
			v.name, v.count, v.layer, layerOf(by), v.worker != by, served.Fresh, served.Moved, knew)
		v.leave()
		return
	}
	v.set(layerOf(by), by, v.count+1)
}

// layerOf says what a worker is, without asking the chain.
func layerOf(m member) string {
	switch m := m.(type) {
	case *fake:
		return onMemory
	case *remote:
		if m.far != nil {
			return onWire
		}
	}
	return onProcess
}

// book is what the visitors note together.
type book struct {
	mu         sync.Mutex
	phases     []*phase
	members    map[member]bool     // of the first layer; false: taken
	refusals   map[string]error    // the last of each layer
	errs       []error             // that calls returned, one of each text
	objections map[string][]string // by rule
}

// phase counts outcomes.
type phase struct {
	name    string
	served  map[string]int // by layer
	refused map[string]int // by kind
}

func newBook() *book {
	b := &book{members: make(map[member]bool), refusals: make(map[string]error), objections: make(map[string][]string)}
	b.add("at first")
	return b
}

func (b *book) add(name string) *phase {
	p := &phase{name: name, served: make(map[string]int), refused: make(map[string]int)}
	b.phases = append(b.phases, p)
	return p
}

// phase begins a phase, and returns the claim that so many calls were served on a layer in
// it. If only is set, one that is served elsewhere or fails breaks a rule, but for those
// that began before.
func (b *book) phase(name, on string, only bool, calls int) func() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.add(name)
	return func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		if only && (len(p.served) > 1 || len(p.refused) > 0) {
			b.objectLocked(ruleLayer, "%s: served by %v, refused %v; want %s alone", name, p.served, p.refused, on)
		}
		return p.served[on] >= calls
	}
}

func (b *book) last() phase {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.phases[len(b.phases)-1]
	return phase{p.name, maps.Clone(p.served), maps.Clone(p.refused)}
}

// meet notes a worker.
func (b *book) meet(m member) {
	if layerOf(m) != onProcess {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.members[m]; !known {
		b.members[m] = true
	}
}

// takeMembers returns the workers that were met and not taken before.
func (b *book) takeMembers() (met []member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for m, here := range b.members {
		if here {
			met = append(met, m)
			b.members[m] = false
		}
	}
	return met
}

// outcome notes the end of a call.
func (b *book) outcome(served fallback.Served, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.phases[len(b.phases)-1]
	for _, passed := range served.Passed {
		b.refusals[passed.Layer] = passed.Err
	}
	var held *fallback.HeldError
	if errors.As(err, &held) {
		b.refusals[held.Passed.Layer] = held.Passed.Err
	}
	if err == nil {
		p.served[served.Layer]++
		return
	}
	key := kind(err)
	if errors.Is(err, fallback.ErrSessionHeld) {
		key = "held, " + held.Passed.Reason.String()
	}
	if p.refused[key]++; p.refused[key] == 1 {
		b.errs = append(b.errs, err)
	}
}

func (b *book) lastRefusal(layer string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refusals[layer]
}

// met reports whether a call returned such an error.
func (b *book) met(is error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.errs, func(err error) bool { return errors.Is(err, is) })
}

func (b *book) object(rule, format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objectLocked(rule, format, args...)
}

func (b *book) objectLocked(rule, format string, args ...any) {
	b.objections[rule] = append(b.objections[rule], fmt.Sprintf(format, args...))
}

// broken reports whether a rule was.
func (b *book) broken(rule string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.objections[rule]) > 0
}

// summary prints the objections, the first few of each rule.
func (b *book) summary() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out strings.Builder
	for _, rule := range slices.Sorted(maps.Keys(b.objections)) {
		found := b.objections[rule]
		fmt.Fprintf(&out, "%d times broken: %s\n", len(found), rule)
		for _, text := range found[:min(3, len(found))] {
			fmt.Fprintf(&out, "\t%s\n", text)
		}
	}
	return out.String()
}

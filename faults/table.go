package faults

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"unsafe"

	"github.com/poolproof/poolproof/pool"
)

// The reasons why a table could not be corrupted as asked. All methods of Table return
// one of them, wrapped with what was looked for, and have written nothing.
var (
	ErrNotBound      = errors.New("faults: session is unknown or not bound")
	ErrTooFewBound   = errors.New("faults: fewer than two sessions that are bound to different workers")
	ErrNoDeadWorker  = errors.New("faults: no dead worker is known: Note the workers while they live")
	ErrNoOtherWorker = errors.New("faults: no other live worker")
)

// LayoutError reports that a field of the pool is not what Table knows: the pool was
// changed, and Table must be changed with it.
type LayoutError struct {
	Field string // from the pool on, such as "st.sessions"
	Want  string
	Got   string // empty: there is no such field
}

// Error names the field.
func (e *LayoutError) Error() string {
	if e.Got == "" {
		return fmt.Sprintf("faults: the layout of pool.Pool has changed: there is no field %s, want %s", e.Field, e.Want)
	}
	return fmt.Sprintf("faults: the layout of pool.Pool has changed: field %s is %s, want %s", e.Field, e.Got, e.Want)
}

// Overwritten is the evidence of one binding that was overwritten, as read back from memory.
type Overwritten struct {
	Session       pool.SessionID
	Before, After pool.WorkerID // whom the binding pointed to
}

// String says what was overwritten.
func (o Overwritten) String() string {
	return fmt.Sprintf("the binding of session %s pointed to worker %d, points to worker %d", o.Session, o.Before, o.After)
}

// Table is a way to the session table of a live pool, behind the pool's back: it overwrites
// bindings as a stray write would, and nothing else. It holds the pool's lock meanwhile, so
// that the moment is one between two changes. Make one with OpenTable. Its methods do not
// block beyond that, and may be called by any goroutine. It keeps the workers that it has
// noted reachable, even when they are gone. What it overwrites a second time before the pool
// has noticed may come to be right again: compare Overwritten.
type Table struct {
	lock     sync.Locker
	sessions reflect.Value // the map
	live     reflect.Value // the slice

	known map[pool.WorkerID]reflect.Value // guarded by lock: pointers
}

// entry is a bound session.
type entry struct {
	id      pool.SessionID
	binding reflect.Value // settable
}

func (e entry) worker() pool.WorkerID { return idOf(e.binding) }

// OpenTable finds the table of p. It returns a *LayoutError if p is not made as expected.
func OpenTable[T any](p *pool.Pool[T]) (*Table, error) {
	return openTable(reflect.ValueOf(p).Elem())
}

// openTable is OpenTable for a pool's struct.
func openTable(p reflect.Value) (*Table, error) {
	t := &Table{known: map[pool.WorkerID]reflect.Value{}}
	mu, err := field(p, "", "mu", "a sync.Locker", func(f reflect.Type) bool {
		return reflect.PointerTo(f).Implements(reflect.TypeFor[sync.Locker]())
	})
	if err != nil {
		return nil, err
	}
	t.lock = mu.Addr().Interface().(sync.Locker)
	st, err := field(p, "", "st", "a struct", func(f reflect.Type) bool { return f.Kind() == reflect.Struct })
	if err != nil {
		return nil, err
	}
	toStruct := func(f reflect.Type) bool { return f.Kind() == reflect.Pointer && f.Elem().Kind() == reflect.Struct }
	t.live, err = field(st, "st.", "live", "a slice of pointers to structs", func(f reflect.Type) bool {
		return f.Kind() == reflect.Slice && toStruct(f.Elem())
	})
	if err != nil {
		return nil, err
	}
	t.sessions, err = field(st, "st.", "sessions", "a map from pool.SessionID to pointers to structs", func(f reflect.Type) bool {
		return f.Kind() == reflect.Map && f.Key() == reflect.TypeFor[pool.SessionID]() && toStruct(f.Elem())
	})
	if err != nil {
		return nil, err
	}
	worker, session := t.live.Type().Elem(), t.sessions.Type().Elem()
	if _, err := field(reflect.New(worker.Elem()).Elem(), "st.live[].", "id", "a pool.WorkerID", func(f reflect.Type) bool {
		return f == reflect.TypeFor[pool.WorkerID]()
	}); err != nil {
		return nil, err
	}
	_, err = field(reflect.New(session.Elem()).Elem(), "st.sessions[].", "w", "a pointer to a worker", func(f reflect.Type) bool {
		return f == worker
	})
	if err != nil {
		return nil, err
	}
	t.Note()
	return t, nil
}

// field returns a field of the struct s, settable though it is not exported.
func field(s reflect.Value, path, name, want string, fits func(reflect.Type) bool) (reflect.Value, error) {
	f := s.FieldByName(name)
	if !f.IsValid() {
		return f, &LayoutError{Field: path + name, Want: want}
	}
	if !fits(f.Type()) {
		return f, &LayoutError{Field: path + name, Want: want, Got: f.Type().String()}
	}
	return reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem(), nil
}

func idOf(worker reflect.Value) pool.WorkerID {
	return pool.WorkerID(worker.Elem().FieldByName("id").Uint())
}

// Note remembers the workers that live now, so that a binding can be pointed at them once
// they are dead. OpenTable and every other method do so too. Of the dead the latest few are
// kept.
func (t *Table) Note() { t.enter()() }

// enter takes the lock, notes the workers, and returns what releases the lock.
func (t *Table) enter() (leave func()) {
	t.lock.Lock()
	for i := range t.live.Len() {
		w := reflect.ValueOf(t.live.Index(i).Interface()) // a copy: the slice goes on
		t.known[idOf(w)] = w
	}
	dead := t.workers(false)
	for _, w := range dead[:max(0, len(dead)-deadKept)] {
		delete(t.known, idOf(w))
	}
	return t.lock.Unlock
}

// deadKept is how many dead workers a Table keeps: they hold memory.
const deadKept = 8

// bound returns the bound sessions, by name.
func (t *Table) bound() []entry {
	var all []entry
	for it := t.sessions.MapRange(); it.Next(); {
		w := it.Value().Elem().FieldByName("w")
		if !w.IsNil() {
			all = append(all, entry{pool.SessionID(it.Key().String()), reflect.NewAt(w.Type(), unsafe.Pointer(w.UnsafeAddr())).Elem()})
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.id, b.id) })
	return all
}

// find returns the entry of id.
func (t *Table) find(id pool.SessionID) (entry, error) {
	for _, e := range t.bound() {
		if e.id == id {
			return e, nil
		}
	}
	return entry{}, fmt.Errorf("%w: %q", ErrNotBound, id)
}

// workers returns the known workers that live, or those that are gone, by ID.
func (t *Table) workers(alive bool) []reflect.Value {
	live := map[pool.WorkerID]bool{}
	for i := range t.live.Len() {
		live[idOf(t.live.Index(i))] = true
	}
	var all []reflect.Value
	for id, w := range t.known {
		if live[id] == alive {
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b reflect.Value) int { return cmp.Compare(idOf(a), idOf(b)) })
	return all
}

// overwrite points a binding at a worker.
func (e entry) overwrite(w reflect.Value) Overwritten {
	o := Overwritten{Session: e.id, Before: e.worker()}
	e.binding.Set(w)
	o.After = e.worker()
	return o
}

func swap(a, b entry) [2]Overwritten {
	was := reflect.ValueOf(a.binding.Interface())
	first := a.overwrite(b.binding)
	return [2]Overwritten{first, b.overwrite(was)}
}

// Bound returns the bound sessions, sorted by name, and whom their bindings point to.
func (t *Table) Bound() (ids []pool.SessionID, workers []pool.WorkerID) {
	defer t.enter()()
	for _, e := range t.bound() {
		ids, workers = append(ids, e.id), append(workers, e.worker())
	}
	return ids, workers
}

// Swap exchanges the bindings of two sessions. It returns ErrNotBound, or ErrTooFewBound if
// both are bound to the same worker, where nothing would be changed.
func (t *Table) Swap(a, b pool.SessionID) ([2]Overwritten, error) {
	defer t.enter()()
	first, err := t.find(a)
	if err != nil {
		return [2]Overwritten{}, err
	}
	second, err := t.find(b)
	if err != nil {
		return [2]Overwritten{}, err
	}
	if first.worker() == second.worker() {
		return [2]Overwritten{}, fmt.Errorf("%w: %q and %q are both on worker %d", ErrTooFewBound, a, b, first.worker())
	}
	return swap(first, second), nil
}

// SwapAny is Swap for two sessions that rng draws. The same table and the same numbers
// make the same choice, for this and its neighbours.
func (t *Table) SwapAny(rng *rand.Rand) ([2]Overwritten, error) {
	defer t.enter()()
	all := t.bound()
	var pairs [][2]entry
	for i, a := range all {
		for _, b := range all[i+1:] {
			if a.worker() != b.worker() {
				pairs = append(pairs, [2]entry{a, b})
			}
		}
	}
	if len(pairs) == 0 {
		return [2]Overwritten{}, fmt.Errorf("%w: %d bound", ErrTooFewBound, len(all))
	}
	p := pairs[rng.IntN(len(pairs))]
	return swap(p[0], p[1]), nil
}

// PointAtDead points the binding of id at the latest worker that is gone. It returns
// ErrNotBound, or ErrNoDeadWorker if no worker that was noted is gone.
func (t *Table) PointAtDead(id pool.SessionID) (Overwritten, error) {
	return t.point(id, func(entry) (reflect.Value, error) {
		dead := t.workers(false)
		if len(dead) == 0 {
			return reflect.Value{}, ErrNoDeadWorker
		}
		return dead[len(dead)-1], nil
	})
}

// PointAnyAtDead is PointAtDead for a session and a dead worker that rng draws.
func (t *Table) PointAnyAtDead(rng *rand.Rand) (Overwritten, error) {
	return t.pointAny(rng, func(entry) (reflect.Value, error) {
		return draw(rng, t.workers(false), ErrNoDeadWorker)
	})
}

// PointAt points the binding of id at another worker that lives, such as one that holds
// other sessions. It returns ErrNotBound, or ErrNoOtherWorker if that worker is not known to
// live or is the session's own.
func (t *Table) PointAt(id pool.SessionID, worker pool.WorkerID) (Overwritten, error) {
	return t.point(id, func(e entry) (reflect.Value, error) {
		for _, w := range t.others(e) {
			if idOf(w) == worker {
				return w, nil
			}
		}
		return reflect.Value{}, fmt.Errorf("%w: %d", ErrNoOtherWorker, worker)
	})
}

// PointAnyAtLive is PointAt for a session and another live worker that rng draws.
func (t *Table) PointAnyAtLive(rng *rand.Rand) (Overwritten, error) {
	return t.pointAny(rng, func(e entry) (reflect.Value, error) {
		return draw(rng, t.others(e), ErrNoOtherWorker)
	})
}

// others returns the live workers that e does not point to.
func (t *Table) others(e entry) []reflect.Value {
	return slices.DeleteFunc(t.workers(true), func(w reflect.Value) bool { return idOf(w) == e.worker() })
}

func draw(rng *rand.Rand, from []reflect.Value, none error) (reflect.Value, error) {
	if len(from) == 0 {
		return reflect.Value{}, none
	}
	return from[rng.IntN(len(from))], nil
}

// point overwrites the binding of id with what target returns.
func (t *Table) point(id pool.SessionID, target func(entry) (reflect.Value, error)) (Overwritten, error) {
	defer t.enter()()
	e, err := t.find(id)
	if err != nil {
		return Overwritten{}, err
	}
	w, err := target(e)
	if err != nil {
		return Overwritten{}, err
	}
	return e.overwrite(w), nil
}

// pointAny is point for a session that rng draws.
func (t *Table) pointAny(rng *rand.Rand, target func(entry) (reflect.Value, error)) (Overwritten, error) {
	defer t.enter()()
	all := t.bound()
	if len(all) == 0 {
		return Overwritten{}, fmt.Errorf("%w: none is", ErrNotBound)
	}
	e := all[rng.IntN(len(all))]
	w, err := target(e)
	if err != nil {
		return Overwritten{}, err
	}
	return e.overwrite(w), nil
}

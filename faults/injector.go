package faults

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// Injector makes one kind of fault. It may be used concurrently.
type Injector interface {
	// Inject sets a fault going and returns it. It must not wait for the fault to land.
	// ctx ends with the run. An error says why the fault cannot be made; nothing is then
	// to be healed.
	Inject(ctx context.Context, v *Victim) (*Injury, error)
}

// InjectorFunc is a function that is an Injector.
type InjectorFunc func(ctx context.Context, v *Victim) (*Injury, error)

// Inject calls f.
func (f InjectorFunc) Inject(ctx context.Context, v *Victim) (*Injury, error) { return f(ctx, v) }

// Injury is a fault on its way.
type Injury struct {
	// Landed waits until the fault is seen to have had its effect, or until ctx ends, and
	// says how that was seen. An error says what was not seen. It must look at what was
	// harmed, not at what was intended. It is called once.
	Landed func(ctx context.Context) (evidence string, err error)
	// Heal ends the harm and returns when it is over, or why it is not. It is called once,
	// after Landed, also if that failed. Nil: nothing is to be healed.
	Heal func(ctx context.Context) error
	// Ends says that the worker does not survive the fault.
	Ends bool
}

// Victim is whom a fault hits.
type Victim struct {
	System  *System
	Worker  pool.WorkerID // 0: nobody in particular
	Session pool.SessionID
	Options Options
	Rand    *rand.Rand // of this fault alone
}

// Process returns the worker's process, or nil on a layer without processes and for a
// worker that is gone.
func (v *Victim) Process() *process.Worker {
	if p, ok := v.System.worker(v.Worker).(*process.Worker); ok && v.System.Layer() == Process {
		return p
	}
	return nil
}

// Within has f run on the worker by whoever leases it next, before what they lease it
// for. It does not wait for that. ctx is the holder's.
func (v *Victim) Within(f func(ctx context.Context, w Worker) error) {
	v.System.within(v.Worker, f)
}

// Kit names the injectors that plans may use.
type Kit map[string]Injector

// Kinds returns the names in order.
func (k Kit) Kinds() []string { return slices.Sorted(maps.Keys(k)) }

// Options are what a plan says of a fault beside its kind, as in "bytes=1048576".
type Options map[string]string

// String writes the options as a plan does, in order of their names.
func (o Options) String() string {
	words := make([]string, 0, len(o))
	for _, key := range slices.Sorted(maps.Keys(o)) {
		words = append(words, key+"="+o[key])
	}
	return strings.Join(words, " ")
}

// Int returns an option that is a whole number, or otherwise if it is not given.
func (o Options) Int(key string, otherwise int64) (int64, error) {
	text, given := o[key]
	if !given {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("option %s is %q; want a whole number", key, text)
	}
	return n, nil
}

// Duration returns an option that is a duration, or otherwise if it is not given.
func (o Options) Duration(key string, otherwise time.Duration) (time.Duration, error) {
	text, given := o[key]
	if !given {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("option %s is %q; want a duration such as 250ms", key, text)
	}
	return d, nil
}

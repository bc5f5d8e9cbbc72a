package props

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/poolproof/poolproof/model"
)

// A stray is a method of an adapter that has the name of one which is found by type
// assertion, and another signature: nobody would call it, and nobody would be told. One that
// is promoted from an embedded pool is that pool's own, and none.

// genStrayPool says what is stray in a pool; nil if nothing is.
func genStrayPool(p Pool) *model.PromiseViolation {
	t := reflect.TypeOf(p)
	return genStray(t, "the pool", []genOptional{
		genOptionalOf[TryAcquirer](t.MethodByName("TryAcquire")),
		genOptionalOf[Resizer](t.MethodByName("Resize")),
		genOptionalOf[Resetter](t.MethodByName("Reset")),
		genOptionalOf[Creator](t.MethodByName("CreateResource")),
		genOptionalOf[Forcer](t.MethodByName("Shutdown")),
		genOptionalOf[Reopener](t.MethodByName("Reopen")),
		genOptionalOf[SessionAcquirer](t.MethodByName("AcquireSession")),
		genOptionalOf[Counter](t.MethodByName("Counts")),
		genOptionalOf[Waiting](t.MethodByName("Waiting")),
	})
}

// genStrayLease does the same for a lease.
func genStrayLease(l Lease) *model.PromiseViolation {
	t := reflect.TypeOf(l)
	return genStray(t, "the lease", []genOptional{
		genOptionalOf[Discarder](t.MethodByName("Discard")),
		genOptionalOf[Ender](t.MethodByName("End")),
	})
}

// genOptional is a method that an adapter may have, and the interface that it is found by.
type genOptional struct {
	method reflect.Method
	has    bool
	want   reflect.Type
}

// genOptionalOf is called with a method looked up by a constant name, for which alone the
// linker can leave out the methods that nothing calls.
func genOptionalOf[I any](method reflect.Method, has bool) genOptional {
	return genOptional{method, has, reflect.TypeFor[I]()}
}

// genStray says which of the methods is stray.
func genStray(t reflect.Type, whose string, list []genOptional) *model.PromiseViolation {
	for i := range list {
		o := &list[i]
		if !o.has || t.Implements(o.want) || genPromoted(t, o.method.Name) {
			continue
		}
		var want []string
		for i := range o.want.NumMethod() {
			m := o.want.Method(i)
			want = append(want, m.Name+strings.TrimPrefix(m.Type.String(), "func"))
		}
		return &model.PromiseViolation{Rule: "open", Text: fmt.Sprintf(
			"%s (%v) has a method %s that nobody calls, for it does not make it a %v, which is: %s; mend its signature, or rename it",
			whose, t, o.method.Name, o.want, strings.Join(want, ", "))}
	}
	return nil
}

// genPromoted reports whether a type has a method from a field that is embedded in it.
func genPromoted(t reflect.Type, name string) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return false
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.Anonymous {
			continue
		}
		if _, has := f.Type.MethodByName(name); has {
			return true
		}
		if _, has := reflect.PointerTo(f.Type).MethodByName(name); has {
			return true
		}
	}
	return false
}

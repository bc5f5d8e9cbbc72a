// Package order puts the keys of a map into an order that is the same in each run with the
// same choices.
package order

import (
	"cmp"
	"reflect"
	"slices"

	"github.com/poolproof/poolproof/sched"
)

// Note says that key is put into a map: a key without an order of its own, such as a
// pointer, comes after those noted earlier.
func Note(t *sched.Task, key any) { note(t, reflect.ValueOf(key)) }

func note(t *sched.Task, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Chan, reflect.UnsafePointer:
		t.Seen(v.UnsafePointer())
	case reflect.Interface:
		note(t, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			note(t, v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			note(t, v.Index(i))
		}
	}
}

// Sort orders keys: by value if they have an order, else by when they were noted; then it
// shuffles them, if the run asks for that.
func Sort[K any](t *sched.Task, keys []K) {
	slices.SortFunc(keys, func(a, b K) int {
		return compare(t, reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem())
	})
	if len(keys) > 1 && t.Shuffled() {
		t.Rand().Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	}
}

// compare orders two values of one type.
func compare(t *sched.Task, a, b reflect.Value) int {
	switch {
	case a.CanInt():
		return cmp.Compare(a.Int(), b.Int())
	case a.CanUint():
		return cmp.Compare(a.Uint(), b.Uint())
	case a.CanFloat():
		return cmp.Compare(a.Float(), b.Float())
	}
	switch a.Kind() {
	case reflect.String:
		return cmp.Compare(a.String(), b.String())
	case reflect.Bool:
		return cmp.Compare(toInt(a.Bool()), toInt(b.Bool()))
	case reflect.Complex64, reflect.Complex128:
		x, y := a.Complex(), b.Complex()
		return cmp.Or(cmp.Compare(real(x), real(y)), cmp.Compare(imag(x), imag(y)))
	case reflect.Pointer, reflect.Chan, reflect.UnsafePointer:
		return cmp.Compare(t.Seen(a.UnsafePointer()), t.Seen(b.UnsafePointer()))
	case reflect.Interface:
		return compareInterface(t, a, b)
	case reflect.Struct:
		for i := range a.NumField() {
			if c := compare(t, a.Field(i), b.Field(i)); c != 0 {
				return c
			}
		}
	case reflect.Array:
		for i := range a.Len() {
			if c := compare(t, a.Index(i), b.Index(i)); c != 0 {
				return c
			}
		}
	}
	return 0
}

// compareInterface orders values of any types: nil first, then by type.
func compareInterface(t *sched.Task, a, b reflect.Value) int {
	if a.IsNil() || b.IsNil() {
		return cmp.Compare(toInt(!a.IsNil()), toInt(!b.IsNil()))
	}
	a, b = a.Elem(), b.Elem()
	if a.Type() != b.Type() {
		name := func(v reflect.Value) string { return v.Type().PkgPath() + " " + v.Type().String() }
		return cmp.Compare(name(a), name(b))
	}
	return compare(t, a, b)
}

func toInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

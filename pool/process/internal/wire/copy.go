package wire

import (
	"fmt"
	"runtime/debug"
)

// Copy copies all of from to the beginning of to, one of which is mapped memory. It
// returns an error where the machine has no page left to put behind the mapping; then
// part of it is copied.
func Copy(to, from []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch fault := recover().(type) {
		case nil:
		case interface {
			error
			Addr() uintptr
		}:
			err = fmt.Errorf("mapped memory is not there: %w", fault)
		default:
			panic(fault)
		}
	}()
	copy(to, from)
	return nil
}

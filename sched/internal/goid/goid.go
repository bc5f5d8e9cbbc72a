// Package goid tells which goroutine runs, fast enough to be asked at every lock and
// every atomic operation. The runtime keeps that from programs on purpose, and for
// programs that is right; a scheduler of goroutines has to know. Nothing else in this
// module may use the package.
//
// On amd64 and arm64 the number is read from the runtime's descriptor of the goroutine.
// Where in the descriptor it stands differs between versions of Go, so that is not
// assumed but found out at the start of the program, by comparing with what runtime.Stack
// prints for several goroutines. If no single place fits all of them, and on other
// processors, runtime.Stack is asked each time: slower by three orders of magnitude, with
// the same result.
package goid

import (
	"bytes"
	"runtime"
	"strconv"
)

// Get returns the number of the calling goroutine. Numbers are never used again.
func Get() int64 {
	if offset != 0 {
		return int64(word(offset))
	}
	id, _ := Parse(header())
	return id
}

// Bubble returns the number of the testing/synctest bubble that the calling goroutine is
// in, or 0. It is slow: it asks a goroutine that it starts, which is in the same bubble, and
// has a short stack to print.
func Bubble() int64 {
	answer := make(chan int64)
	go func() {
		_, bubble := Parse(header())
		answer <- bubble
	}()
	return <-answer
}

// header returns the first line of the calling goroutine's stack.
func header() []byte {
	buf := make([]byte, 128)
	return buf[:runtime.Stack(buf, false)]
}

// Parse reads a line such as "goroutine 7 [running, synctest bubble 3]:".
func Parse(header []byte) (id, bubble int64) {
	rest, ok := bytes.CutPrefix(header, []byte("goroutine "))
	if !ok {
		return 0, 0
	}
	state, _, _ := bytes.Cut(rest, []byte("]:"))
	number, state, _ := bytes.Cut(state, []byte(" "))
	id, err := strconv.ParseInt(string(number), 10, 64)
	if err != nil {
		return 0, 0
	}
	if _, after, ok := bytes.Cut(state, []byte("synctest bubble ")); ok {
		digits, _, _ := bytes.Cut(after, []byte(","))
		if bubble, err = strconv.ParseInt(string(digits), 10, 64); err != nil {
			return id, 0
		}
	}
	return id, bubble
}

// Parent returns the number of the goroutine that started the calling one, 0 if it is not
// known. Where it stands in the descriptor is found out like the goroutine's own number.
func Parent() int64 {
	if offsetOfParent != 0 {
		return int64(word(offsetOfParent))
	}
	return ParseParent(stack())
}

// stack returns what runtime.Stack prints for the calling goroutine.
func stack() []byte {
	buf := make([]byte, 16<<10)
	return buf[:runtime.Stack(buf, false)]
}

// ParseParent reads the end of a stack, such as "created by main.main in goroutine 1".
func ParseParent(stack []byte) int64 {
	const mark = " in goroutine "
	at := bytes.LastIndex(stack, []byte(mark))
	if at < 0 {
		return 0
	}
	digits, _, _ := bytes.Cut(stack[at+len(mark):], []byte("\n"))
	id, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		return 0
	}
	return id
}

// offset is where the number stands in the descriptor, offsetOfParent where that of the
// goroutine does which started it; 0 if that is not known. They are written once, before
// main, and never again.
var (
	offset         = find(func() int64 { id, _ := Parse(header()); return id })
	offsetOfParent = find(func() int64 { return ParseParent(stack()) })
)

// find returns the only place in the descriptor that holds the number that asked returns
// for each of a few goroutines; 0 if there is none, or more than one.
func find(asked func() int64) uintptr {
	if !supported {
		return 0
	}
	const goroutines = 5
	found := make(chan map[uintptr]bool)
	for range goroutines { // each started by another
		go func() {
			go func() { found <- places(asked()) }()
		}()
	}
	common := <-found
	for range goroutines - 1 {
		these := <-found
		for at := range common {
			if !these[at] {
				delete(common, at)
			}
		}
	}
	if len(common) != 1 {
		return 0
	}
	for at := range common {
		return at
	}
	return 0
}

// searched is how much of the descriptor is looked at; it is larger than that.
const searched = 320

// places returns where in the descriptor of the calling goroutine id stands.
func places(id int64) map[uintptr]bool {
	at := map[uintptr]bool{}
	for i := uintptr(8); i < searched; i += 8 {
		if int64(word(i)) == id {
			at[i] = true
		}
	}
	return at
}

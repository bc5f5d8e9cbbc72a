package sched

import (
	"cmp"
	"strconv"
	"strings"
)

// identity says which task of a run a task is: which child of which parent. It takes the same
// room however deep a task is: a pool in which each goroutine starts the next one makes a
// chain as long as the run.
type identity struct {
	parent *identity // nil for a task without one
	jump   *identity // an ancestor further up, so that one far up is reached in few steps; nil above all
	number int       // of the child among its parent's, from 1 on
	depth  int       // 1 without a parent
	hash   uint64
}

// child returns the identity of a child of i, which may be nil.
func (i *identity) child(number int) *identity {
	c := &identity{parent: i, number: number, depth: 1, hash: fnvOffset}
	if i != nil {
		c.depth, c.jump, c.hash = i.depth+1, i, i.hash
		if i.depth-i.jump.deep() == i.jump.deep()-i.jump.over().deep() {
			c.jump = i.jump.over()
		}
	}
	c.hash = mix(c.hash, uint64(number))
	return c
}

// deep is the depth of i, 0 for nil.
func (i *identity) deep() int {
	if i == nil {
		return 0
	}
	return i.depth
}

// over is where i jumps to.
func (i *identity) over() *identity {
	if i == nil {
		return nil
	}
	return i.jump
}

// up returns the ancestor of i at that depth, or i if that is no deeper.
func (i *identity) up(depth int) *identity {
	for i.depth > depth {
		if i.jump.deep() >= depth {
			i = i.jump
		} else {
			i = i.parent
		}
	}
	return i
}

// compare orders identities: a parent before its children, children by number, each with its
// own before the next.
func (i *identity) compare(other *identity) int {
	a, b := i.up(other.depth), other.up(i.depth)
	if a == b {
		return cmp.Compare(i.depth, other.depth)
	}
	for a.parent != b.parent {
		if a.jump != b.jump {
			a, b = a.jump, b.jump
		} else {
			a, b = a.parent, b.parent
		}
	}
	return cmp.Compare(a.number, b.number)
}

// mostNamed is how many numbers the name of a task has at most.
const mostNamed = 16

// String returns the numbers from the outermost parent's on, with dots between. What is
// deeper than mostNamed begins with how many numbers are left out.
func (i *identity) String() string {
	var numbers []string
	for n := i; n != nil && len(numbers) < mostNamed; n = n.parent {
		numbers = append(numbers, strconv.Itoa(n.number))
	}
	var b strings.Builder
	if more := i.depth - len(numbers); more > 0 {
		b.WriteString("(" + strconv.Itoa(more) + ")")
	}
	for at := len(numbers) - 1; at >= 0; at-- {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(numbers[at])
	}
	return b.String()
}

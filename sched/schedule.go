package sched

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Schedule is what was chosen in a run: the choices other than 0 by the number of the
// decision, counted from 0. The empty schedule preempts no task. It is text for people to
// keep and edit: "none", or "17:2 40:1" for the choice 2 at decision 17 and 1 at decision
// 40.
type Schedule map[int]int

// errSchedule begins the message about a text that is no schedule.
var errSchedule = errors.New("sched: no schedule")

// ParseSchedule reads what Schedule.String wrote.
func ParseSchedule(text string) (Schedule, error) {
	s := Schedule{}
	if strings.TrimSpace(text) == noSchedule {
		return s, nil
	}
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return nil, fmt.Errorf("%w: it is empty; want %q or pairs such as \"17:2\"", errSchedule, noSchedule)
	}
	for _, field := range fields {
		left, right, ok := strings.Cut(field, ":")
		decision, err1 := strconv.Atoi(left)
		choice, err2 := strconv.Atoi(right)
		if !ok || err1 != nil || err2 != nil || decision < 0 || choice < 1 {
			return nil, fmt.Errorf("%w: %q; want decision:choice, such as \"17:2\"", errSchedule, field)
		}
		if _, twice := s[decision]; twice {
			return nil, fmt.Errorf("%w: decision %d is there twice", errSchedule, decision)
		}
		s[decision] = choice
	}
	return s, nil
}

const noSchedule = "none"

// String returns the schedule as ParseSchedule reads it.
func (s Schedule) String() string {
	if len(s) == 0 {
		return noSchedule
	}
	var b strings.Builder
	for i, decision := range slices.Sorted(maps.Keys(s)) {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%d:%d", decision, s[decision])
	}
	return b.String()
}

// Replay follows a recorded schedule, and chooses 0 where that says nothing. A choice
// that no longer exists becomes the last one that does, so that schedules can be edited
// and survive small changes of the program.
type Replay struct {
	schedule Schedule
	decision int
}

// NewReplay returns a Replay for one run.
func NewReplay(s Schedule) *Replay { return &Replay{schedule: s} }

// Pick implements Strategy.
func (r *Replay) Pick(c Choice) int {
	picked := min(r.schedule[r.decision], c.N-1)
	r.decision++
	return picked
}

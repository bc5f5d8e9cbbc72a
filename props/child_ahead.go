package props

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/poolproof/poolproof/sched"
)

// genAhead is where a child writes what it is about to do: memory that it shares with its
// parent by way of a file, so that it is there to be read however the child ends, at no
// cost worth mentioning. A nil *genAhead writes nothing. Its methods may be called
// concurrently.
//
// The memory begins with a count of beats and the length of the text, eight bytes each.
// A line of the text is a letter, which says what the line is, and the line.
type genAhead struct {
	mu    sync.Mutex
	mem   []byte // guarded by mu
	beats uint64 // guarded by mu
	used  int    // guarded by mu; bytes of the text
}

const (
	genAheadHead = 16
	genAheadSize = 256 << 10 // bytes; what goes beyond is not written
)

// The lines of the text.
const (
	genAheadOp   = 'o' // a line of the script
	genAheadTail = 't' // a line of the winding down
	genAheadNote = 'n' // what came of the line before it

	genAheadProgram = 'p' // a line of the script, which is done later, or not at all
	genAheadDone    = 'd' // a line that is done, of a script written before
	genAheadPick    = 's' // a choice of the schedule
	genAheadRace    = 'r' // the seed of a race
)

// begin forgets the last run: another one begins.
func (a *genAhead) begin() {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used = 0
	a.publishLocked()
}

// write adds a line of the given kind.
func (a *genAhead) write(kind byte, line string) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	text := a.mem[genAheadHead:]
	if a.used+len(line)+2 <= len(text) {
		text[a.used] = kind
		copy(text[a.used+1:], line)
		text[a.used+1+len(line)] = '\n'
		a.used += len(line) + 2
	}
	a.publishLocked()
}

// op adds a line of the script, or of the winding down.
func (a *genAhead) op(o genOp, tail bool) {
	if a == nil {
		return
	}
	kind := byte(genAheadOp)
	if tail {
		kind = genAheadTail
	}
	a.write(kind, o.String())
}

// note adds what came of the last line.
func (a *genAhead) note(text string) { a.write(genAheadNote, strings.ReplaceAll(text, "\n", " ")) }

// beat says that all is well, although nothing is done: something is waited for, for a time.
func (a *genAhead) beat() {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.publishLocked()
}

// publishLocked makes what was written last count, and beats.
func (a *genAhead) publishLocked() {
	a.beats++
	binary.LittleEndian.PutUint64(a.mem[8:], uint64(a.used))
	binary.LittleEndian.PutUint64(a.mem, a.beats)
}

// readAhead returns what such memory says: the run that was under way, without a verdict.
func readAhead(mem []byte) *genFinding {
	f := &genFinding{}
	if len(mem) < genAheadHead {
		return f
	}
	used := binary.LittleEndian.Uint64(mem[8:])
	text := mem[genAheadHead:]
	text = text[:min(used, uint64(len(text)))]
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		f.readAhead(line[0], line[1:])
	}
	if n := len(f.ops); n > 0 {
		f.ops[n-1].together = false // the run ended before its companions were called
	}
	if n := len(f.lines); n > 0 {
		f.lines[n-1].op.together = false
	}
	return f
}

// readAhead takes in a line.
func (f *genFinding) readAhead(kind byte, line string) {
	switch kind {
	case genAheadNote:
		if len(f.lines) == 0 {
			f.lines = append(f.lines, genLine{text: "open"})
		}
		last := &f.lines[len(f.lines)-1]
		last.notes = append(last.notes, line)
		return
	case genAheadPick:
		var at, picked int
		if _, err := fmt.Sscan(line, &at, &picked); err != nil {
			return // cut short
		}
		f.planned()
		f.schedule[at] = picked
		return
	case genAheadRace:
		f.racing = true
		f.seed, _ = strconv.ParseUint(line, 10, 64)
		return
	}
	o, err := parseGenOp(line)
	if err != nil {
		return // cut short
	}
	if kind == genAheadOp || kind == genAheadProgram {
		f.ops = append(f.ops, o)
	}
	if kind == genAheadProgram && !f.racing {
		f.planned()
	}
	if kind != genAheadProgram {
		f.lines = append(f.lines, genLine{op: o, tail: kind == genAheadTail})
	}
}

// planned notes that a scheduler runs the clients.
func (f *genFinding) planned() {
	if !f.scheduled {
		f.scheduled, f.schedule = true, sched.Schedule{}
	}
}

// genTold is a strategy that writes ahead what another one picks.
type genTold struct {
	sched.Strategy
	ahead *genAhead
	n     int
}

// Pick implements sched.Strategy.
func (g *genTold) Pick(c sched.Choice) int {
	picked := g.Strategy.Pick(c)
	if picked != 0 {
		g.ahead.write(genAheadPick, fmt.Sprintf("%d %d", g.n, picked))
	}
	g.n++
	return picked
}

// Prune implements sched.Pruner.
func (g *genTold) Prune(next int) {
	if p, ok := g.Strategy.(sched.Pruner); ok {
		p.Prune(next)
	}
}

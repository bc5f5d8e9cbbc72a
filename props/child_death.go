package props

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/poolproof/poolproof/model"
)

// died makes a finding of a child that has closed its end of the pipe.
func (c *genChild) died(ctx context.Context) (*genSaid, *genFinding, error) {
	select {
	case <-c.ended:
	case <-time.After(genQuitGrace): // it lives on without a descriptor
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
	switch status, _ := c.cmd.ProcessState.Sys().(syscall.WaitStatus); {
	case ctx.Err() != nil:
		return nil, nil, errGenStopped
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		return nil, nil, errors.New("child: it was killed, for want of memory perhaps")
	}
	f := c.underWay()
	if f == nil {
		return nil, nil, c.early()
	}
	rule, text := genLastWords(c.printed.String(), c.cmd.ProcessState)
	if rule == "exit" && strings.Contains(c.printed.String(), "--- FAIL: ") {
		return nil, nil, fmt.Errorf("child: its test failed by itself:\n%s", c.printed.String())
	}
	f.violation = &model.PromiseViolation{Rule: rule, Text: text}
	f.stacks = genLastStack(c.printed.String())
	f.deadly = true
	f.unfit = strings.Contains(text, "synctest")
	return nil, f, nil
}

// silent makes a finding of a child that does nothing any more, and ends it.
func (c *genChild) silent(silence time.Duration) *genFinding {
	before := len(c.printed.String())
	_ = c.cmd.Process.Signal(genQuit)
	select {
	case <-c.ended:
	case <-time.After(genQuitGrace):
	}
	f := c.underWay()
	if f == nil {
		f = &genFinding{}
	}
	f.violation = &model.PromiseViolation{Rule: "hang", Text: fmt.Sprintf("the process has done nothing for %v", silence)}
	f.stacks = genAllStacks(c.printed.String()[before:])
	f.deadly = true
	return f
}

// underWay returns the run that was under way, without a verdict; nil if none ever was.
func (c *genChild) underWay() *genFinding {
	mem := make([]byte, genAheadSize)
	if _, err := c.ahead.ReadAt(mem, 0); err != nil && err != io.EOF {
		return nil
	}
	if string(mem[:8]) == strings.Repeat("\x00", 8) {
		return nil
	}
	return readAhead(mem)
}

// early says that a child came to no run at all.
func (c *genChild) early() error {
	return fmt.Errorf("child: it ended (%v) before Verify could use it; what stands before Verify in the test runs in each child, too. "+
		"Target.InProcess does without children. It printed:\n%s", c.cmd.ProcessState, c.printed.String())
}

// genHex are addresses and the like, which differ from run to run.
func genHex(text string) string {
	return regexp.MustCompile(`0x[0-9a-f]+`).ReplaceAllString(text, "0x…")
}

// genLastWords says from what a process printed why it ended: the rule and a sentence.
func genLastWords(printed string, state *os.ProcessState) (rule, text string) {
	for line := range strings.Lines(printed) {
		line = strings.TrimSpace(line)
		switch {
		case strings.Contains(line, "WARNING: DATA RACE"):
			return "race", "a data race: " + genRaceOf(printed)
		case strings.HasPrefix(line, "fatal error: "):
			return "fatal", "the process died: " + genHex(line)
		case strings.HasPrefix(line, "panic: "):
			return "panic", "the process died: " + genHex(line)
		}
	}
	return "exit", fmt.Sprintf("the process ended (%v) while the pool was in use", (&exec.ExitError{ProcessState: state}).Error())
}

// genRaceOf says which functions of a race's report raced.
func genRaceOf(printed string) string {
	_, report, _ := strings.Cut(printed, "WARNING: DATA RACE")
	lines := strings.Split(report, "\n")
	var who []string
	for i, line := range lines {
		head, _, isHead := strings.Cut(strings.TrimSpace(line), " at 0x")
		if isHead && i+1 < len(lines) && len(who) < 2 {
			who = append(who, strings.ToLower(head)+" in "+strings.TrimSuffix(strings.TrimSpace(lines[i+1]), "()"))
		}
	}
	return strings.Join(who, ", ")
}

// genLastStack returns the stack that a process printed last, or its report of a race.
func genLastStack(printed string) string {
	if _, race, ok := strings.Cut(printed, "WARNING: DATA RACE\n"); ok {
		race, _, _ = strings.Cut(race, "==================")
		return race
	}
	if i := strings.Index(printed, "\ngoroutine "); i >= 0 {
		stack, _, _ := strings.Cut(printed[i+1:], "\n\n")
		return genFrames(stack)
	}
	return ""
}

// genAllStacks returns the stacks in a dump of them all that are not of this machine alone.
func genAllStacks(dump string) string {
	var kept []string
	for stack := range strings.SplitSeq(dump, "\n\n") {
		if short := genFrames(stack); strings.HasPrefix(stack, "goroutine ") && strings.Count(short, "\n") >= 2 {
			kept = append(kept, short)
		}
	}
	const most = 8
	if more := len(kept) - most; more > 0 {
		kept = append(kept[:most], fmt.Sprintf("(%d more)", more))
	}
	return strings.Join(kept, "\n")
}

package process

import (
	"strings"
	"syscall"
	"testing"
)

func TestExitsAreClassified(t *testing.T) {
	code := func(n int) syscall.WaitStatus { return syscall.WaitStatus(n << 8) }
	signal := func(s syscall.Signal) syscall.WaitStatus { return syscall.WaitStatus(s) }
	rose := killEvidence{oomBefore: 3, oomNow: 4}
	for _, test := range []struct {
		name     string
		status   syscall.WaitStatus
		evidence killEvidence
		want     ExitError
		orderly  bool
	}{
		{"clean", code(0), rose, ExitError{Kind: ExitClean}, true},
		{"code", code(3), rose, ExitError{Kind: ExitCode, Code: 3}, false},
		{"term", signal(syscall.SIGTERM), rose, ExitError{Kind: ExitSignal, Signal: syscall.SIGTERM}, true},
		{"segv", signal(syscall.SIGSEGV), rose, ExitError{Kind: ExitSignal, Signal: syscall.SIGSEGV}, false},
		{"core", signal(syscall.SIGSEGV | 0x80), rose, ExitError{Kind: ExitSignal, Signal: syscall.SIGSEGV}, false},
		{"memory", signal(syscall.SIGKILL), rose, ExitError{Kind: ExitOutOfMemory, Signal: syscall.SIGKILL}, false},
		{
			"killed by us", signal(syscall.SIGKILL),
			killEvidence{byUs: true, oomBefore: 3, oomNow: 4},
			ExitError{Kind: ExitSignal, Signal: syscall.SIGKILL},
			false,
		},
		{
			"killed by another", signal(syscall.SIGKILL),
			killEvidence{oomBefore: 3, oomNow: 3},
			ExitError{Kind: ExitSignal, Signal: syscall.SIGKILL},
			false,
		},
		{
			"count unknown", signal(syscall.SIGKILL),
			killEvidence{oomBefore: -1, oomNow: 4},
			ExitError{Kind: ExitSignal, Signal: syscall.SIGKILL},
			false,
		},
	} {
		var got ExitError
		got.classify(test.status, test.evidence)
		if got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
		if got.orderly() != test.orderly {
			t.Errorf("%s: orderly = %v, want %v", test.name, got.orderly(), test.orderly)
		}
	}
}

func TestExitErrorQuotesTheLastLine(t *testing.T) {
	err := &ExitError{ID: 7, PID: 42, Kind: ExitCode, Code: 3, Output: "one\nValueError: no\n"}
	want := `process: worker 7, pid 42, exited with code 3; its last output: "ValueError: no"`
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

func TestOutputKeepsTheTail(t *testing.T) {
	var o output
	for range 3000 {
		o.keep([]byte("0123456789\n"))
	}
	o.keep([]byte("last\n"))
	if cap(o.kept) > 4*tailBytes {
		t.Errorf("%d bytes kept, want at most %d", cap(o.kept), 4*tailBytes)
	}
	tail := o.tail()
	if len(tail) != tailBytes || !strings.HasSuffix(tail, "0123456789\nlast\n") {
		t.Errorf("tail has %d bytes and ends in %.20q; want %d bytes ending in the last lines", len(tail), tail[max(0, len(tail)-20):], tailBytes)
	}
	o.keep(make([]byte, lineBytes))
	if got := len(o.tail()); got != tailBytes {
		t.Errorf("after a long line the tail has %d bytes, want %d", got, tailBytes)
	}
}

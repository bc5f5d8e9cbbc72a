package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// Defaults of the Config fields.
const (
	DefaultCloseGrace = 2 * time.Second
	DefaultTermGrace  = 2 * time.Second
	DefaultKillGrace  = 2 * time.Second

	DefaultCancelGrace     = 250 * time.Millisecond
	DefaultSharedMemory    = 8 << 20
	DefaultSharedThreshold = 8 << 10

	DefaultLogRate = 1000
)

// Config says how to start, talk to and stop workers. Exactly one of Command, Fork and Dial
// is required.
type Config struct {
	// Command is the program and its arguments. A program without a slash is looked up
	// in the host's PATH; one with a slash is relative to the host's working directory,
	// whatever Dir is.
	Command []string
	// Fork, in place of Command, has a fork server make the processes. What they execute,
	// and Dir, Env, AddressSpace, OpenFiles, CoreDumps, Umask and Nice, are set in its
	// ForkConfig. It remains its owner's, who closes it after the pool.
	Fork *ForkServer
	// Dial, in place of Command, gives the channel to a worker that is no process of
	// ours, such as one end of a net.Pipe that package worker serves. It should return
	// when ctx ends. The Worker owns the channel; closing it must unblock its reads and
	// writes.
	Dial func(ctx context.Context, id pool.WorkerID) (io.ReadWriteCloser, error)
	// Wrap puts something between the host and the channel of each worker, however that
	// was made: a recorder of what is said, a compressor, or faults. It is called once for
	// each start, on a goroutine of its own and before anything is sent, and must not
	// block; if it panics, or returns nil, the start fails. What it returns is read and
	// written by one goroutine each. The Worker owns that, and closes it, once, in place of
	// channel: closing it must close channel, and unblock its reads and writes. No other
	// method is asked for. Requests then take a hand-over between goroutines more, as only
	// a pipe itself can be written to without waiting. Nil: nothing.
	Wrap func(id pool.WorkerID, channel io.ReadWriteCloser) io.ReadWriteCloser

	// Dir is the process's working directory. Empty: the host's.
	Dir string
	// Env lists all of the process's environment besides PATH, which it inherits unless
	// listed, and ChannelVariable. An entry "KEY=value" sets a variable; "KEY" alone
	// hands on the host's value, if there is one.
	Env []string
	// AddressSpace bounds the memory, in bytes, that the process and each that it starts
	// may map (RLIMIT_AS): beyond it allocations fail, which a Python program sees as a
	// MemoryError. What the program maps before the limit is set, as told below, counts
	// but stays. An interpreter maps far more than it uses. Zero: the host's limit.
	AddressSpace int64
	// OpenFiles bounds the descriptors of the process and each that it starts
	// (RLIMIT_NOFILE). Zero: the host's limit. Range: from 16.
	//
	// AddressSpace, OpenFiles and CoreDumps are set from outside, as soon as the program
	// has been executed and before hello is sent: the first moments of a start, and
	// processes that it starts in them, are not bounded. None raises what the host itself
	// is limited to; a process with CAP_SYS_RESOURCE may raise its own.
	OpenFiles int
	// ResidentLimit is the resident set, in bytes, above which the process is not used
	// again: what it has in memory, shared parts included. It is looked at four times a
	// second, and at the end of a lease if it was not since. A worker above it is not
	// Usable, and OnExit is told a *ResidentError; in a pool it is retired with that, at
	// once if it is idle, else when it is released, and its sessions are lost. So a
	// worker may exceed the limit for one lease; AddressSpace bounds it absolutely. It
	// costs one more descriptor. Zero: no limit.
	ResidentLimit int64
	// CoreDumps lets a crash leave an image of the process's memory, where the host's own
	// limit and the machine's settings say so. False: none (RLIMIT_CORE is 0), as they
	// are large, hold up the end, and show what a worker was given.
	CoreDumps bool
	// Umask is the process's file mode creation mask from its first instruction on; the
	// host's own does not change. It requires that a thread may call unshare(CLONE_FS),
	// which some containers forbid; then Start fails. Nil: the host's. Range: 0 to 0777.
	Umask *fs.FileMode
	// Nice is added to the host's niceness, from the process's first instruction on.
	// Negative values need a privilege. Zero: the host's. Range: -20 to 19; the kernel
	// bounds the sum likewise.
	Nice int

	// Stdio makes standard input and output the channel, for programs that cannot use
	// descriptors 3 and 4. Then only standard error is logged.
	Stdio bool

	// FrameLimit bounds a frame's body in bytes, in both directions. Zero:
	// DefaultFrameLimit. Range: up to 2 GiB - 1.
	FrameLimit int

	// SharedMemory is the size in bytes of the memory that each process is offered for
	// large payloads, half of it for each direction, rounded up to whole pages. It is
	// used as far as payloads have needed it, until the worker's end. Payloads beyond a
	// half go through the pipe, as do all if the worker does not support this, if the
	// kernel has no such memory, or with Dial. Zero: DefaultSharedMemory. Negative: none.
	SharedMemory int
	// SharedThreshold is the size in bytes from which a request's payload goes through
	// shared memory; smaller ones are faster through the pipe. Zero:
	// DefaultSharedThreshold.
	SharedThreshold int

	// CancelGrace is how long a worker has to end a call that was cancelled, if it has
	// announced that it can, and a stream. It comes on top of the deadline of the call.
	// Zero: DefaultCancelGrace. Negative: nothing is cancelled, the worker is lost.
	CancelGrace time.Duration
	// CloseGrace is how long Stop waits after closing the channel. Zero:
	// DefaultCloseGrace.
	CloseGrace time.Duration
	// TermGrace is how long Stop waits after SIGTERM. Zero: DefaultTermGrace.
	TermGrace time.Duration
	// KillGrace is how long Stop, or a failed Start, waits after SIGKILL. Zero:
	// DefaultKillGrace. The three together should fit into pool.Config.StopTimeout.
	KillGrace time.Duration

	// Logger gets what the processes print, line by line, and the log notifications of
	// workers, with the worker's ID. It should be fast: while it blocks, so do workers
	// that print, and the ends of workers; of the notifications at most 256, or 1 MiB,
	// wait for it and others are dropped, which is logged. Nil: discarded.
	Logger *slog.Logger
	// LogRate bounds the lines that Logger gets of what each process prints: of each
	// second, the first so many. The others are counted, which is logged, and only seen
	// in the output that errors quote. A line longer than 8 KiB counts as several. Zero:
	// DefaultLogRate.
	LogRate int
	// OnNotification is told of a worker's other notifications, but for those that the
	// protocol defines, one at a time for each worker. What holds for a slow Logger
	// holds for it; params are its to keep, nil if there are none. Nil: nobody is told.
	OnNotification func(id pool.WorkerID, method string, params json.RawMessage)
	// OnExit is told, once and on a goroutine of its own, that a started worker is of
	// no more use although Stop has not been called: its process exited, its channel
	// broke, or it is above ResidentLimit. cause is a *ResidentError, or wraps ErrBroken,
	// and *ExitError where the process exited. The worker must still be stopped. Nil:
	// nobody is told. A panic in OnExit, OnNotification or Logger is contained.
	OnExit func(id pool.WorkerID, cause error)

	// died is told before OnExit.
	died func(*Worker)
}

// withDefaults returns cfg with every zero value that means a default replaced.
func (cfg Config) withDefaults() Config {
	if cfg.FrameLimit == 0 {
		cfg.FrameLimit = DefaultFrameLimit
	}
	if cfg.SharedMemory == 0 {
		cfg.SharedMemory = DefaultSharedMemory
	}
	if cfg.SharedThreshold == 0 {
		cfg.SharedThreshold = DefaultSharedThreshold
	}
	if cfg.CancelGrace == 0 {
		cfg.CancelGrace = DefaultCancelGrace
	}
	if cfg.CloseGrace == 0 {
		cfg.CloseGrace = DefaultCloseGrace
	}
	if cfg.TermGrace == 0 {
		cfg.TermGrace = DefaultTermGrace
	}
	if cfg.KillGrace == 0 {
		cfg.KillGrace = DefaultKillGrace
	}
	if cfg.LogRate == 0 {
		cfg.LogRate = DefaultLogRate
	}
	cfg.Logger = contained(cfg.Logger)
	return cfg
}

// validate reports every complaint about a Config whose defaults are filled in.
func (cfg *Config) validate() error {
	var errs []error
	complain := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("process: Config."+format, args...))
		}
	}
	ways := 0
	for _, way := range []bool{len(cfg.Command) > 0, cfg.Fork != nil, cfg.Dial != nil} {
		if way {
			ways++
		}
	}
	complain(ways != 1, "Command, Fork and Dial: %d of them are set; it must be exactly one", ways)
	complain(cfg.FrameLimit < 0 || cfg.FrameLimit > maxFrameLimit,
		"FrameLimit is %d; it must be from 0 to %d", cfg.FrameLimit, maxFrameLimit)
	complain(cfg.SharedMemory > maxFrameLimit, "SharedMemory is %d; it must be at most %d", cfg.SharedMemory, maxFrameLimit)
	complain(cfg.SharedThreshold < 0, "SharedThreshold is %d; it must not be negative", cfg.SharedThreshold)
	complain(cfg.CloseGrace < 0, "CloseGrace is %v; it must not be negative", cfg.CloseGrace)
	complain(cfg.TermGrace < 0, "TermGrace is %v; it must not be negative", cfg.TermGrace)
	complain(cfg.KillGrace < 0, "KillGrace is %v; it must not be negative", cfg.KillGrace)
	complain(cfg.ResidentLimit < 0, "ResidentLimit is %d bytes; it must not be negative", cfg.ResidentLimit)
	complain(cfg.ResidentLimit > 0 && cfg.Dial != nil, "ResidentLimit is set; with Dial there is no process to look at")
	complain(cfg.LogRate < 0, "LogRate is %d; it must not be negative", cfg.LogRate)
	prog := cfg.program()
	if fields := prog.set(); cfg.Fork != nil && len(fields) > 0 {
		complain(true, "Fork is set, so %s must not be; ForkConfig has them", strings.Join(fields, ", "))
	}
	complain(cfg.Fork != nil && cfg.Stdio, "Stdio is set; with Fork the channel is always at descriptors 3 and 4")
	return errors.Join(append(errs, prog.complaints("Config"))...)
}

// program returns what to execute.
func (cfg *Config) program() program {
	return program{
		command: cfg.Command, dir: cfg.Dir, env: cfg.Env,
		addressSpace: cfg.AddressSpace, openFiles: cfg.OpenFiles, coreDumps: cfg.CoreDumps,
		umask: cfg.Umask, nice: cfg.Nice,
	}
}

// open makes the channel to a new worker and, unless that comes from Dial, its process,
// which inherits memory if there is any.
func (cfg *Config) open(ctx context.Context, id pool.WorkerID, memory *sharedMemory) (io.ReadWriteCloser, *osProcess, error) {
	if cfg.Dial != nil {
		channel, err := cfg.Dial(ctx, id)
		return channel, nil, err
	}
	if cfg.Fork != nil {
		return cfg.Fork.launch(ctx, cfg, id, memory.inherited()...)
	}
	return launch(cfg, id, memory.inherited()...)
}

// wrap returns what Wrap makes of a new channel, or after an error the channel itself.
func (cfg *Config) wrap(id pool.WorkerID, channel io.ReadWriteCloser) (io.ReadWriteCloser, error) {
	if cfg.Wrap == nil {
		return channel, nil
	}
	var wrapped io.ReadWriteCloser
	err := errors.New("process: Config.Wrap ended its goroutine")
	done := make(chan struct{})
	go func() { // so that the process is not lost with a goroutine that ends
		defer close(done)
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("process: Config.Wrap panicked: %v", v)
			}
		}()
		wrapped = cfg.Wrap(id, channel)
		err = nil
	}()
	<-done
	if err == nil && wrapped == nil {
		err = errors.New("process: Config.Wrap returned nil")
	}
	if err != nil {
		return channel, err
	}
	return wrapped, nil
}

// shareMemory makes the memory to be shared with a process, or returns nil if there is to
// be none.
func (cfg *Config) shareMemory() *sharedMemory {
	if cfg.Dial != nil || cfg.SharedMemory < 0 {
		return nil
	}
	memory, err := newSharedMemory(cfg.SharedMemory)
	if err != nil {
		cfg.Logger.Warn("no shared memory, payloads go through the pipe", "error", err)
		return nil
	}
	return memory
}

// sharedDescriptor is the descriptor that a process finds shared memory at: the first
// behind the standard ones and the channel's.
func (cfg *Config) sharedDescriptor() int {
	if cfg.Stdio {
		return 3
	}
	return 5
}

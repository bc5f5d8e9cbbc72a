package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/poolproof/poolproof/pool/process"
)

// Main serves the channel that the host handed to this process and never returns: the
// process exits with code 0 when the host closes the channel or sends SIGTERM, and with
// code 1, after a line on standard error, when the channel fails. It should be called
// before anything is printed.
func Main(methods map[string]Method, options ...Option) {
	channel, err := claim()
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		err = Serve(ctx, channel, methods, options...)
		terminated := ctx.Err() != nil
		stop()
		if terminated || errors.Is(err, syscall.EPIPE) {
			err = nil // asked to go, or the host is gone
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// duplex joins the two descriptors of a channel.
type duplex struct{ requests, replies *os.File }

func (d *duplex) Read(p []byte) (int, error)  { return d.requests.Read(p) }
func (d *duplex) Write(p []byte) (int, error) { return d.replies.Write(p) }
func (d *duplex) Close() error                { return errors.Join(d.requests.Close(), d.replies.Close()) }

// claim takes the channel's descriptors for itself: out of the way of what this process
// prints, and out of the reach of processes that it starts.
func claim() (*duplex, error) {
	spec := os.Getenv(process.ChannelVariable)
	if spec == "" {
		spec = "3,4"
	}
	os.Unsetenv(process.ChannelVariable)
	first, second, _ := strings.Cut(spec, ",")
	requests, err := claimDescriptor(first, "requests")
	if err != nil {
		return nil, err
	}
	replies, err := claimDescriptor(second, "replies")
	if err != nil {
		return nil, err
	}
	return &duplex{requests, replies}, nil
}

// claimDescriptor moves a descriptor to a number that nobody else uses, where reads can
// be interrupted. The standard ones get a harmless file in exchange.
func claimDescriptor(number, name string) (*os.File, error) {
	given, err := strconv.Atoi(number)
	if err != nil {
		return nil, fmt.Errorf("worker: %s names no descriptor: %w", process.ChannelVariable, err)
	}
	own, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(given), syscall.F_DUPFD_CLOEXEC, 3)
	if errno != 0 {
		return nil, fmt.Errorf("worker: descriptor %d for %s: %w; is this process started by a host?", given, name, errno)
	}
	switch given {
	case 0:
		var null *os.File
		if null, err = os.Open(os.DevNull); err == nil {
			err = errors.Join(syscall.Dup3(int(null.Fd()), given, 0), null.Close())
		}
	case 1:
		err = syscall.Dup3(2, given, 0)
	default:
		err = syscall.Close(given)
	}
	if err == nil {
		err = syscall.SetNonblock(int(own), true)
	}
	if err != nil {
		return nil, fmt.Errorf("worker: claiming descriptor %d: %w", given, err)
	}
	return os.NewFile(own, name), nil
}

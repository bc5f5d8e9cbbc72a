// Textserver is an HTTP service that says what texts are about. Its model, a naive Bayes
// classifier, lives in Python worker processes, and so do the conversations that it
// follows; README.md shows how to use it.
//
// It is an example of a service in front of a pool of worker processes: texts.go holds all
// that touches the pool, problem.go turns the pool's errors into answers, server.go is the
// HTTP side and this file the process's own life.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// startPause bounds the pause after starts that failed. A start is quick here, and what
// ends one may be as quickly gone.
const startPause = time.Second

// lastWords is how long requests that the grace did not suffice for may take to hand over
// the refusal that they got in the end.
const lastWords = 5 * time.Second

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

// options are the service's settings.
type options struct {
	addr          string
	corpus        string // a file; empty: the embedded one
	workers       int
	queue         int
	conversations int
	start         time.Duration
	wait          time.Duration
	call          time.Duration
	ttl           time.Duration
	grace         time.Duration
	verbose       bool

	// affinity is no flag, because only one value is right here: a conversation exists
	// in its worker alone.
	affinity pool.Affinity

	// open opens the pool. Nil: openPool. Tests record what is called.
	open func(process.Config, pool.Config[*process.Worker], func(*process.Worker) *process.Worker) (workerPool, error)
}

// parse reads the command line. It has told stderr what is wrong when it returns an error.
func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("textserver", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.addr, "addr", "127.0.0.1:8080", "`address` to listen on")
	flags.StringVar(&o.corpus, "corpus", "", "`file` to learn from, lines of label, tab, text (default: one that is built in)")
	flags.IntVar(&o.workers, "workers", runtime.GOMAXPROCS(0), "worker processes")
	flags.IntVar(&o.queue, "queue", 256, "requests that may wait for a worker; 0: no limit")
	flags.IntVar(&o.conversations, "conversations", 10_000, "conversations at once; 0: no limit")
	flags.DurationVar(&o.start, "start", 30*time.Second, "how long a worker may take to start; unless all do at first, the service exits")
	flags.DurationVar(&o.wait, "wait", 2*time.Second, "how long a request may wait for a worker")
	flags.DurationVar(&o.call, "call", 5*time.Second, "how long a worker may take; one that takes longer is killed")
	flags.DurationVar(&o.ttl, "ttl", 10*time.Minute, "how long an unused conversation is kept; 0: for ever")
	flags.DurationVar(&o.grace, "grace", 10*time.Second, "how long running requests may take at the end")
	flags.BoolVar(&o.verbose, "v", false, "log every failed request and what workers print")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q; there are only flags", flags.Arg(0))
	}
	if o.workers < 1 {
		err = errors.Join(err, fmt.Errorf("-workers is %d; it must be at least 1", o.workers))
	}
	for _, limit := range []struct {
		name  string
		value time.Duration
	}{{"start", o.start}, {"wait", o.wait}, {"call", o.call}, {"grace", o.grace}} {
		if limit.value <= 0 {
			err = errors.Join(err, fmt.Errorf("-%s is %v; it must be positive", limit.name, limit.value))
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
	}
	return o, err
}

// run is the program; it returns the exit code.
func run(args []string, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	level := slog.LevelWarn
	if o.verbose {
		level = slog.LevelDebug
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	told, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ctx, end := context.WithCancel(context.Background())
	defer end()
	context.AfterFunc(told, func() {
		stop() // from now on, and before anybody sees the end begin, a signal ends the program at once
		end()
	})

	ready := func(addr net.Addr) { fmt.Fprintf(stderr, "ready on http://%s\n", addr) }
	if err := serve(ctx, o, logger, ready); err != nil {
		fmt.Fprintln(stderr, "textserver:", err)
		return 1
	}
	return 0
}

// serve runs the service until ctx ends, then finishes what is running. It calls ready
// once all workers are. A nil error means an end in good order.
func serve(ctx context.Context, o options, logger *slog.Logger, ready func(net.Addr)) error {
	t, err := openTexts(ctx, o, logger)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return errors.Join(err, t.close(ctx))
	}
	srv := newHTTPServer(newServer(t, logger), o, logger)
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(listener) }()

	starting, cancel := context.WithTimeout(ctx, o.start)
	defer cancel()
	err = t.ready(starting)
	if err == nil {
		ready(listener.Addr())
		select {
		case err = <-ended:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		err = nil // being told to end is no fault, while starting either
	}
	return errors.Join(err, shutdown(srv, t, o.grace))
}

// newHTTPServer returns a server that no client can keep busy without end.
func newHTTPServer(handler http.Handler, o options, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10*time.Second + o.wait + o.call,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}

// shutdown stops listening, lets running requests finish for as long as grace, and then
// ends the workers.
func shutdown(srv *http.Server, t *texts, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	late := srv.Shutdown(ctx)
	err := errors.Join(late, t.close(ctx))
	if late != nil {
		// Their workers are gone now, so what was still running has been refused.
		ctx, cancel := context.WithTimeout(context.Background(), lastWords)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			err = errors.Join(err, srv.Close())
		}
	}
	return err
}

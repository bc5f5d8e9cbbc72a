package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/fallback"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// Every call of a session reaches the process that holds its state.
func ExampleNewPool() {
	p, err := process.NewPool(process.Config{
		Command: []string{self()}, // a program that calls worker.Main; here the test itself is one
		Env:     []string{roleVariable + "=demo"},
	}, pool.Config[*process.Worker]{MaxSize: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()

	call := func(method string, item worker.Item) {
		err := p.Do(context.Background(), "user-42", func(ctx context.Context, w *process.Worker) error {
			var answer json.RawMessage
			if err := w.Call(ctx, method, item, &answer); err != nil {
				return err
			}
			fmt.Printf("worker %d, %s: %s\n", w.ID(), method, answer)
			return nil
		})
		var refused *process.RemoteError
		if errors.As(err, &refused) {
			fmt.Println("error", refused.Code) // an answer like any other: the worker stays
		} else if err != nil {
			fmt.Println(err)
		}
	}
	call("put", worker.Item{Session: "user-42", Key: "name", Value: json.RawMessage(`"Ada"`)})
	call("git", worker.Item{})
	call("get", worker.Item{Session: "user-42", Key: "name"})
	// Output:
	// worker 1, put: true
	// error -32601
	// worker 1, get: "Ada"
}

// A client acquires, calls and releases in one step; its streams hold the worker until
// they end.
func ExampleClient() {
	p, err := process.NewPool(process.Config{
		Command: []string{self()},
		Env:     []string{roleVariable + "=demo"},
	}, pool.Config[*process.Worker]{MaxSize: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	ctx := context.Background()
	client := process.NewClient(p, process.ClientConfig{})

	answer, by, err := client.CallRaw(ctx, "", "raw_echo", []byte("raw bytes"), nil)
	fmt.Printf("%s from worker %d, error %v\n", answer, by.Worker, err)

	stream, _, err := client.Stream(ctx, "", &process.Request{Method: "count", Params: map[string]int{"n": 3}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for chunk, err := range stream.All() {
		fmt.Printf("chunk %d: %s, error %v\n", chunk.Seq, chunk.Value, err)
	}
	var total int
	fmt.Println(stream.Result(&total), total)
	// Output:
	// raw bytes from worker 1, error <nil>
	// chunk 0: 0, error <nil>
	// chunk 1: 1, error <nil>
	// chunk 2: 2, error <nil>
	// <nil> 3
}

// caller is what a worker process and what stands in for it have in common.
type caller interface {
	Call(ctx context.Context, method string, params, result any) error
}

// here answers in this very process.
type here struct{}

func (here) Call(_ context.Context, method string, _, result any) error {
	*result.(*string) = method + " by hand"
	return nil
}

// Where no process can be had, the program does the work itself.
func ExampleNewPoolOf() {
	processes, err := process.NewPoolOf(process.Config{Command: []string{"/no/such/program"}}, pool.Config[caller]{},
		func(w *process.Worker) caller { return w }, func(c caller) *process.Worker { return c.(*process.Worker) })
	if err != nil {
		fmt.Println(err)
		return
	}
	defer processes.Close()
	byHand, err := pool.New(pool.Config[caller]{
		Start: func(context.Context, pool.WorkerID) (caller, error) { return here{}, nil },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer byHand.Close()

	chain, err := fallback.New(fallback.Config[caller]{Layers: []fallback.Layer[caller]{
		{Name: "processes", Pool: processes}, {Name: "here", Pool: byHand},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	var answer string
	served, err := chain.Do(context.Background(), "", func(ctx context.Context, c caller) error {
		return c.Call(ctx, "summarise", "a text", &answer)
	})
	fmt.Println(answer, served.Layer, served.Passed, err)
	// Output: summarise by hand here [processes: start failed] <nil>
}

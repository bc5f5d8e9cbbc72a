package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/poolproof/poolproof/pool"
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

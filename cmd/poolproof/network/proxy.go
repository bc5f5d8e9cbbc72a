// Package network puts a proxy between clients and a service on loopback, and harms what
// passes through it. The harm is done by toxiproxy; on either side of that stands a tap, so
// that a fault is seen to land on the bytes themselves:
//
//	client - tap - toxiproxy - tap - service
//
// A fault lands only if somebody talks: the proxy sends nothing of its own.
package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// Proxy stands between clients and a service. Its methods may be called concurrently.
type Proxy struct {
	service string // its address
	toxic   *toxiproxy.Proxy
	front   net.Listener // for clients
	back    net.Listener // for toxiproxy
	work    sync.WaitGroup

	mu        sync.Mutex
	closed    bool               // guarded by mu
	conns     map[net.Conn]bool  // guarded by mu: all that are open
	observers map[*observer]bool // guarded by mu
	faults    int                // guarded by mu: so far, to name them
}

// Open opens a proxy to the service at an address, "127.0.0.1:8080" say. Its owner closes it.
func Open(service string) (*Proxy, error) {
	p := &Proxy{service: service, conns: make(map[net.Conn]bool), observers: make(map[*observer]bool)}
	var err error
	if p.back, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p.toxic = toxiproxy.NewProxy(server, "poolproof", "127.0.0.1:0", p.back.Addr().String())
	if err := p.toxic.Start(); err != nil {
		return nil, errors.Join(err, p.back.Close())
	}
	if p.front, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		p.toxic.Stop()
		return nil, errors.Join(err, p.back.Close())
	}
	p.work.Go(p.accept)
	return p, nil
}

// Addr is where clients connect to.
func (p *Proxy) Addr() string { return p.front.Addr().String() }

// Close ends all connections and returns when nothing of the proxy is left.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	err := errors.Join(p.front.Close(), p.back.Close())
	p.toxic.Stop()
	p.work.Wait()
	return err
}

// accept connects clients to the service, one after the other, so that it is known which
// connection of toxiproxy's is whose.
func (p *Proxy) accept() {
	for {
		client, err := p.front.Accept()
		if err != nil {
			return
		}
		if err := p.connect(client); err != nil {
			client.Close()
		}
	}
}

// connect makes the way from a client to the service.
func (p *Proxy) connect(client net.Conn) error {
	there, err := net.Dial("tcp", p.toxic.Listen)
	if err != nil {
		return err
	}
	here, err := p.back.Accept()
	if err != nil {
		there.Close()
		return err
	}
	service, err := net.Dial("tcp", p.service)
	if err != nil {
		there.Close()
		here.Close()
		return err
	}
	l := &line{proxy: p}
	for _, c := range []net.Conn{client, there, here, service} {
		if !p.keep(c) {
			return net.ErrClosed
		}
	}
	p.work.Go(func() { l.pump(client, there, func(n int) { l.entered(Out, n) }, fromClient) })
	p.work.Go(func() { l.pump(here, service, func(n int) { l.left(Out, n) }, toService) })
	p.work.Go(func() { l.pump(service, here, func(n int) { l.entered(In, n) }, fromService) })
	p.work.Go(func() { l.pump(there, client, func(n int) { l.left(In, n) }, toClient) })
	return nil
}

// keep notes an open connection, or closes it if the proxy is closed.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

// forget closes a connection.
func (p *Proxy) forget(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// observer is told what happens at the taps. tell is called with mu held, and returns the
// evidence that is looked for, or "".
type observer struct {
	tell  func(e event) string
	found chan string
}

// observe calls tell from now on.
func (p *Proxy) observe(tell func(event) string) *observer {
	o := &observer{tell, make(chan string, 1)}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.observers[o] = true
	return o
}

// await returns what an observer has found, and ends it.
func (p *Proxy) await(ctx context.Context, o *observer, what string) (string, error) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.observers, o)
	}()
	tick := time.NewTicker(silence / 10) // since it is also evidence that nothing happens
	defer tick.Stop()
	for {
		select {
		case evidence := <-o.found:
			return evidence, nil
		case <-tick.C:
			p.happened(event{})
		case <-ctx.Done():
			return "", fmt.Errorf("%s was seen at the proxy", what)
		}
	}
}

// happened tells all observers.
func (p *Proxy) happened(e event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for o := range p.observers {
		if evidence := o.tell(e); evidence != "" {
			select {
			case o.found <- evidence:
			default:
			}
		}
	}
}

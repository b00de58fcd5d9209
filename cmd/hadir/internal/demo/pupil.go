package demo

import (
	"context"
	"errors"
	"sync"

	"hadir/cmd/hadir/internal/api"
	"hadir/cmd/hadir/internal/serve"
)

// pupil is a person who taps, signed in when first needed.
type pupil struct {
	account serve.Account
	mu      sync.Mutex // held while signing in, so that two taps sign in once
	client  *api.Client
}

// as gives the person's client. An error means that it can be tried again,
// unless it is errRefused.
func (p *pupil) as(ctx context.Context) (*api.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client.Token == "" {
		me := *p.client
		if err := me.SignIn(ctx, p.account.Email, p.account.Password); err != nil {
			var problem *api.Problem
			if errors.As(err, &problem) && problem.Status >= 400 && problem.Status < 500 && problem.Status != 429 {
				return nil, errors.Join(errRefused, err)
			}
			return nil, err
		}
		p.client = &me
	}
	return p.client, nil
}

// forget drops a session that was refused.
func (p *pupil) forget(c *api.Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client == c {
		again := *c
		again.Token = ""
		p.client = &again
	}
}

var errRefused = errors.New("sign-in was refused")

package main

import (
	"context"
	"fmt"

	"hadir/cmd/hadir/internal/api"
	"hadir/cmd/hadir/internal/demo"
	"hadir/cmd/hadir/internal/serve"
)

// access says who asks. Commands over the API share it.
type access struct {
	Token        string `help:"Session or API token. Other users of this machine may see it: rather use the file." placeholder:"TOKEN"`
	TokenFile    string `help:"File with a session or API token." placeholder:"FILE"`
	Email        string `help:"Sign in with this address; a demo's administrator when nobody is given." placeholder:"EMAIL"`
	Password     string `help:"Password of the address. Other users of this machine may see it: rather use the file." placeholder:"PASSWORD"`
	PasswordFile string `help:"File with the password of the address." placeholder:"FILE"`
}

// client gives somebody who is signed in.
func (a *access) client(ctx context.Context, url string) (*api.Client, error) {
	c, err := api.New(url)
	if err != nil {
		return nil, &serve.UsageError{Text: "--url " + err.Error()}
	}
	switch {
	case a.TokenFile != "":
		c.Token, err = serve.ReadSecret("--token-file", a.TokenFile)
		return c, err
	case a.Token != "":
		c.Token = a.Token
		return c, nil
	}
	email := a.Email
	password, err := a.secret()
	if err != nil {
		return nil, err
	}
	if email == "" {
		if err := c.SignIn(ctx, demo.Admin().Email, password); err != nil {
			return nil, fmt.Errorf("%w: nobody was given and no demo answers: give --email and --password-file, or --token-file", err)
		}
		return c, nil
	}
	return c, c.SignIn(ctx, email, password)
}

// secret gives the password that somebody signs in with; "" for who has a token.
func (a *access) secret() (string, error) {
	switch {
	case a.Token != "" || a.TokenFile != "":
		return "", nil
	case a.PasswordFile != "":
		return serve.ReadSecret("--password-file", a.PasswordFile)
	case a.Email == "":
		return demo.Admin().Password, nil
	}
	return a.Password, nil
}

// Validate implements kong's hook.
func (a *access) Validate() error {
	given := a.Password != "" || a.PasswordFile != ""
	switch {
	case a.Token != "" && a.TokenFile != "", a.Password != "" && a.PasswordFile != "":
		return fmt.Errorf("give a secret or its -file twin, not both")
	case (a.Token != "" || a.TokenFile != "") && (a.Email != "" || given):
		return fmt.Errorf("give a token, or an address and a password, not both")
	case (a.Email != "") != given:
		return fmt.Errorf("--email and --password-file go together")
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"hadir/cmd/hadir/internal/api"
	"hadir/cmd/hadir/internal/serve"
	"hadir/cmd/hadir/internal/terminal"
)

// userCmd looks after people through any node of a cluster.
type userCmd struct {
	Add    userAddCmd    `cmd:"" help:"Create somebody."`
	Passwd userPasswdCmd `cmd:"" help:"Set somebody's password, or one's own, and end their sessions."`
	Import userImportCmd `cmd:"" help:"Create and change people from a CSV file; tells of each bad row and applies the others."`
}

// newPassword is where a password that is to be set comes from: never an
// argument, which other users of the machine may see.
type newPassword struct {
	NewPasswordFile string `help:"File with the password to set; asked for at the terminal when it is not given." placeholder:"FILE"`
}

func (n *newPassword) get(ctx context.Context, w *world) (string, error) {
	if n.NewPasswordFile != "" {
		return serve.ReadSecret("--new-password-file", n.NewPasswordFile)
	}
	first, err := w.ask(ctx, "New password: ")
	if err != nil {
		return "", fmt.Errorf("%w: give --new-password-file", err)
	}
	again, err := w.ask(ctx, "Once more: ")
	if err != nil {
		return "", err
	}
	if first != again {
		return "", errors.New("the two passwords differ: nothing was changed")
	}
	return first, nil
}

var errInterrupted = errors.New("interrupted")

// askTerminal asks the person at the terminal for a secret, until ctx ends.
func askTerminal(ctx context.Context, label string) (string, error) {
	t, err := terminal.Open()
	if err != nil {
		return "", fmt.Errorf("there is no terminal to ask for a password: %w", err)
	}
	type line struct {
		text string
		err  error
	}
	read := make(chan line, 1)
	go func() {
		text, err := t.ReadSecret(label)
		read <- line{text, err}
	}()
	select {
	case l := <-read:
		return l.text, errors.Join(l.err, t.Close())
	case <-ctx.Done():
		t.Close() //nolint:errcheck // the process ends
		return "", errInterrupted
	}
}

// as signs in and gives the client with a context for all that it is asked.
func (t *target) as(w *world, timeout time.Duration) (context.Context, context.CancelFunc, *api.Client, error) {
	ctx, _ := w.untilSignal()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	c, err := t.client(ctx, t.URL)
	if err != nil {
		cancel()
		return nil, nil, nil, err
	}
	return ctx, cancel, c, nil
}

// personTimeout leaves time to type.
const personTimeout = 10 * time.Minute

// userAddCmd creates somebody.
type userAddCmd struct {
	target
	newPassword
	NewEmail   string `arg:"" name:"address" help:"E-mail address, by which they sign in."`
	Name       string `arg:"" name:"name" help:"Name, in quotation marks if it has spaces."`
	Role       string `help:"Student, teacher or admin." enum:"student,teacher,admin" default:"student"`
	NoPassword bool   `help:"Set none: they cannot sign in until one is set."`
}

// Validate implements kong's hook.
func (c *userAddCmd) Validate() error {
	if c.NoPassword && c.NewPasswordFile != "" {
		return fmt.Errorf("--no-password and --new-password-file do not go together")
	}
	return c.access.Validate()
}

// Run implements the command.
func (c *userAddCmd) Run(w *world) error {
	ctx, cancel, client, err := c.as(w, personTimeout)
	if err != nil {
		return err
	}
	defer cancel()
	n := api.NewUser{Name: c.Name, Email: c.NewEmail, Role: c.Role}
	if !c.NoPassword {
		if n.Password, err = c.get(ctx, w); err != nil {
			return err
		}
	}
	var u api.User
	key := api.NewKey()
	if err := persist(ctx, func() (err error) {
		u, err = client.AddUser(ctx, key, n)
		return err
	}); err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(w.stdout, u)
	}
	_, err = fmt.Fprintf(w.stdout, "created %d: %s <%s>, %s\n", u.ID, u.Name, u.Email, u.Role)
	return err
}

// Patience with a cluster that cannot decide at this moment.
const (
	patience   = 5
	retryPause = time.Second
)

// persist does something again while the answer is a 503, a few times. What it
// does goes under one key.
func persist(ctx context.Context, do func() error) error {
	for tries := 1; ; tries++ {
		err := do()
		var p *api.Problem
		if !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable || tries == patience {
			return err
		}
		if !pause(ctx, retryPause) {
			return err
		}
	}
}

// pause waits, and reports whether it was to its end.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// userPasswdCmd sets a password.
type userPasswdCmd struct {
	target
	newPassword
	Whose string `arg:"" optional:"" name:"address" help:"E-mail address of whom; oneself when it is not given."`
}

// Validate implements kong's hook.
func (c *userPasswdCmd) Validate() error { return c.access.Validate() }

// Run implements the command.
func (c *userPasswdCmd) Run(w *world) error {
	ctx, cancel, client, err := c.as(w, personTimeout)
	if err != nil {
		return err
	}
	defer cancel()
	who, err := client.Me(ctx)
	if err != nil {
		return err
	}
	current := ""
	if c.Whose == "" || strings.EqualFold(c.Whose, who.Email) {
		if current, err = c.current(ctx, w); err != nil {
			return err
		}
	} else {
		found := false
		if who, found, err = client.UserByEmail(ctx, c.Whose); err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("there is nobody with the address %s: look at the list of people", c.Whose)
		}
	}
	word, err := c.get(ctx, w)
	if err != nil {
		return err
	}
	key := api.NewKey()
	if err := persist(ctx, func() error { return client.SetPassword(ctx, key, who.ID, word, current) }); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.stdout, "the password of %s is set; their sessions have ended\n", who.Email)
	return err
}

// current gives the password that one has now: what one has signed in with, or
// what one is asked for.
func (c *userPasswdCmd) current(ctx context.Context, w *world) (string, error) {
	if word, err := c.secret(); err != nil || word != "" {
		return word, err
	}
	word, err := w.ask(ctx, "Current password: ")
	if err != nil {
		return "", fmt.Errorf("%w: sign in with --email and --password-file", err)
	}
	return word, nil
}

// importTimeout bounds all rounds of an import together.
const importTimeout = 30 * time.Minute

// userImportCmd imports people.
type userImportCmd struct {
	target
	File   string `arg:"" name:"file" help:"CSV file with a header: name, email, role, and optionally password and groups (several are divided by |)."`
	DryRun bool   `help:"Only say what would be done."`
}

// Run implements the command.
func (c *userImportCmd) Run(w *world) error {
	file, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	ctx, cancel, client, err := c.as(w, importTimeout)
	if err != nil {
		return err
	}
	defer cancel()
	client.HTTP.Timeout = 2 * callTimeout // the server takes its time with a large file
	report, err := importAll(ctx, client, file, c.DryRun, w.stderr)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := writeJSON(w.stdout, report); err != nil {
			return err
		}
	} else {
		writeImport(w.stdout, c.File, report)
	}
	switch {
	case report.Stopped != nil:
		return fmt.Errorf("the import stopped before its end: %s", report.Stopped.Detail)
	case report.Errors > 0:
		return fmt.Errorf("%d of %d rows were refused: correct them and import the file again", report.Errors, report.Rows)
	}
	return nil
}

// importAll sends the file until the import comes to its end, as long as it gets
// on, and gives one report of all rounds.
func importAll(ctx context.Context, client *api.Client, file []byte, dry bool, progress io.Writer) (all api.ImportReport, err error) {
	for idle := 0; ; {
		var round api.ImportReport
		round, err = client.Import(ctx, file, dry)
		var p *api.Problem
		switch {
		case err == nil:
			all = merge(all, round)
		case !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable:
			return all, err
		}
		if err == nil && round.Stopped == nil {
			return all, nil
		}
		if idle++; round.Created+round.Updated > 0 {
			idle = 0
			fmt.Fprintf(progress, "hadir: %d of %d rows are done, going on\n", all.Rows-all.Skipped-all.Unknown, all.Rows)
		}
		if idle == patience || !pause(ctx, retryPause) {
			break
		}
	}
	if all.Rows > 0 {
		return all, nil // which says that it stopped
	}
	return all, err
}

// merge puts a later round of the same file over an earlier one: of a row that
// was done before it says what was done.
func merge(before, round api.ImportReport) api.ImportReport {
	if before.Rows != round.Rows {
		return round
	}
	for i, row := range before.Items {
		now := &round.Items[i]
		if now.Status != "unchanged" || row.Status == "unchanged" {
			continue
		}
		switch row.Status {
		case "created", "updated":
			now.Status = row.Status
		default: // unknown or skipped, and done all the same
			now.Status = "updated"
		}
		round.Unchanged--
		if now.Status == "created" {
			round.Created++
		} else {
			round.Updated++
		}
	}
	return round
}

// writeImport lists what was not done, by line, and sums up.
func writeImport(out io.Writer, file string, r api.ImportReport) {
	for _, row := range r.Items {
		if row.Reason != "" {
			fmt.Fprintf(out, "%s:%d: %s\n", file, row.Row, strings.TrimSpace(row.Field+" "+row.Reason))
		}
	}
	verb := ""
	if r.DryRun {
		verb = "would be "
	}
	fmt.Fprintf(out, "%d rows: %d %screated, %d %supdated, %d unchanged, %d refused", r.Rows, r.Created, verb, r.Updated, verb, r.Unchanged, r.Errors)
	if r.Unknown > 0 {
		fmt.Fprintf(out, ", %d not known yet", r.Unknown)
	}
	if r.Skipped > 0 {
		fmt.Fprintf(out, ", %d not done", r.Skipped)
	}
	fmt.Fprintln(out)
}

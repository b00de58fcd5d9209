package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"hadir/tests/chaos/load"
)

// Demo is a running hadir demo.
type Demo struct {
	Proc   *Proc
	Client Client // of nobody, at the front
	file   string
	pairs  *load.Pairs
}

// Info is what the demo writes for scripts.
type Info struct {
	URL   string `json:"url"`
	Nodes []struct {
		ID      string `json:"id"`
		URL     string `json:"url"`
		PID     int    `json:"pid"`
		DataDir string `json:"data_dir"`
	} `json:"nodes"`
	Accounts []struct {
		Email    string `json:"email"`
		Password string `json:"password"`
		Role     string `json:"role"`
	} `json:"accounts"`
}

// DemoOptions say what demo is wanted.
type DemoOptions struct {
	Bin   string
	Nodes int
	Port  int    // free ones when 0
	Dir   string // a temporary directory of the demo's own when empty
	Info  string // file
	Env   []string
}

// StartDemo starts a demo and waits until it says that every node is ready.
func StartDemo(ctx context.Context, o DemoOptions) (*Demo, error) {
	if o.Port == 0 {
		var err error
		if o.Port, err = FreePorts(o.Nodes + 1); err != nil {
			return nil, err
		}
	}
	if err := os.Remove(o.Info); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	args := []string{"demo", "--nodes", fmt.Sprint(o.Nodes), "--port", fmt.Sprint(o.Port), "--info", o.Info}
	if o.Dir != "" {
		args = append(args, "--dir", o.Dir)
	}
	p, err := Start("demo", o.Bin, args, o.Env)
	if err != nil {
		return nil, err
	}
	d := &Demo{Proc: p, file: o.Info, Client: Client{HTTP: NewHTTP(), Base: "http://" + Loopback(o.Port)}, pairs: load.AllPairs(students(36))}
	return d, Await(ctx, func() error {
		if p.Ended() {
			return fmt.Errorf("the demo has ended: %s%s", p.Stdout, p.Stderr)
		}
		_, err := d.Info()
		return err
	})
}

// InfoFile gives where the demo writes its description.
func (d *Demo) InfoFile() string { return d.file }

// Info reads the newest description.
func (d *Demo) Info() (Info, error) {
	var info Info
	b, err := os.ReadFile(d.file)
	if err != nil {
		return info, err
	}
	return info, json.Unmarshal(b, &info)
}

// Children gives the node processes of the newest description.
func (d *Demo) Children() (map[string]*Foreign, error) {
	info, err := d.Info()
	if err != nil {
		return nil, err
	}
	out := map[string]*Foreign{}
	for _, n := range info.Nodes {
		if out[n.ID], err = FindForeign(n.PID, filepath.Base(n.DataDir)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// SignIn gives the client of the first account of a role, at the front.
func (d *Demo) SignIn(ctx context.Context, role string) (Client, error) {
	info, err := d.Info()
	if err != nil {
		return Client{}, err
	}
	for _, a := range info.Accounts {
		if a.Role == role {
			return d.Client.SignIn(ctx, a.Email, a.Password)
		}
	}
	return Client{}, fmt.Errorf("the demo names no account of role %q", role)
}

// Load begins a load through the front, by an administrator.
func (d *Demo) Load(admin Client, cfg LoadConfig) *Load {
	cfg.URLs = []string{d.Client.Base}
	return load.Start(cfg, admin, d.pairs)
}

// Control asks for kill, freeze, thaw or start of a node.
func (d *Demo) Control(ctx context.Context, admin Client, node, action string) error {
	a, err := admin.Do(ctx, "POST", "/api/v1/demo/"+node+"/"+action, "", nil)
	if err != nil {
		return err
	}
	if a.Status < 200 || a.Status > 299 {
		return fmt.Errorf("%s of %s: %s", action, node, a)
	}
	return nil
}

// Log gives what the demo and its nodes wrote.
func (d *Demo) Log() string {
	var b strings.Builder
	fmt.Fprintf(&b, "===== demo =====\n%s%s\n", d.Proc.Stdout, d.Proc.Stderr)
	info, err := d.Info()
	if err != nil {
		return b.String()
	}
	for _, n := range info.Nodes {
		if text, err := os.ReadFile(n.DataDir + ".log"); err == nil {
			fmt.Fprintf(&b, "===== %s =====\n%s\n", n.ID, text)
		}
	}
	return b.String()
}

// Close kills the demo; its nodes die with it. Frozen ones too.
func (d *Demo) Close() {
	d.Proc.Kill()
	d.Client.HTTP.CloseIdleConnections()
}

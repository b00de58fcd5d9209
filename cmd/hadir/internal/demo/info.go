package demo

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
)

// Info describes a running demo, for scripts.
type Info struct {
	URL      string        `json:"url"`
	Nodes    []InfoNode    `json:"nodes"`
	Accounts []InfoAccount `json:"accounts"`
	Control  *InfoControl  `json:"control,omitempty"`
}

// InfoControl is where a program does to nodes what the cluster page does, also when
// no node is left that could pass an order on: POST {url}/{node}/{action} with the
// token as bearer, and GET {url}/ for the states.
type InfoControl struct {
	URL   string `json:"url"`
	Token string `json:"token"`
}

// InfoNode is a node process.
type InfoNode struct {
	ID      string `json:"id"`
	URL     string `json:"url"`
	PID     int    `json:"pid"`
	DataDir string `json:"data_dir"`
}

// InfoAccount is somebody who can sign in.
type InfoAccount struct {
	Email    string `json:"email"`
	Password string `json:"password"`
	Role     string `json:"role"`
}

// WriteInfo writes the description to a file: a reader sees the old one or the
// new one, whole.
func WriteInfo(path string, info Info) error {
	b, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(b, '\n'))
}

// ReadInfo reads what WriteInfo wrote.
func ReadInfo(path string) (Info, error) {
	var info Info
	b, err := os.ReadFile(path)
	if err != nil {
		return info, err
	}
	return info, json.Unmarshal(b, &info)
}

// writeFile replaces a file in one step, readable by its owner only.
func writeFile(path string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

package deploy_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// composeFile is what the tests look at.
type composeFile struct {
	Services map[string]struct {
		Image       string
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		CapAdd      []string `yaml:"cap_add"`
		Security    []string `yaml:"security_opt"`
		Privileged  bool
		Profiles    []string
		Volumes     []string
		Ports       []string
		Environment map[string]string
		Secrets     []string
		Healthcheck struct {
			Interval string
			Disable  bool
		}
		Deploy struct {
			Resources struct {
				Limits struct{ CPUs, Memory string }
			}
		}
		Networks map[string]struct {
			Address string `yaml:"ipv4_address"`
		}
	}
	Networks map[string]struct{ Internal bool }
	Secrets  map[string]struct{ File string }
}

func compose(t *testing.T) (c composeFile) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(file(t, "docker-compose.yml")), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestNobodyMayMoreThanNeeded: what a container could do if it were taken over.
func TestNobodyMayMoreThanNeeded(t *testing.T) {
	c := compose(t)
	if len(c.Services) < 9 || !c.Networks["cluster"].Internal {
		t.Errorf("%d services; the cluster's network is internal: %v", len(c.Services), c.Networks["cluster"].Internal)
	}
	addresses := make(map[string]string)
	for name, s := range c.Services {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.Security, "no-new-privileges:true") || s.Privileged {
			t.Errorf("%s may more than needed", name)
		}
		limits := s.Deploy.Resources.Limits
		if limits.CPUs == "" || limits.Memory == "" {
			t.Errorf("%s has no limits", name)
		}
		if s.Healthcheck.Interval != "10s" && !s.Healthcheck.Disable {
			t.Errorf("%s is looked at every %q", name, s.Healthcheck.Interval)
		}
		if other := addresses[s.Networks["cluster"].Address]; other != "" || s.Networks["cluster"].Address == "" {
			t.Errorf("%s has no address of its own (%s)", name, other)
		}
		addresses[s.Networks["cluster"].Address] = name
		engine := slices.ContainsFunc(s.Volumes, func(v string) bool { return strings.Contains(v, "docker.sock") })
		if engine != (name == "chaos") || len(s.CapAdd) > 0 && name != "chaos" {
			t.Errorf("%s has the engine's socket (%v) or capabilities %v", name, engine, s.CapAdd)
		}
		for _, port := range s.Ports {
			if name != "nginx" && !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s is open to the outside: %s", name, port)
			}
		}
		for key, value := range s.Environment {
			if secret := regexp.MustCompile(`(?i)(password|key|token|secret)$`); secret.MatchString(key) && value != "" {
				t.Errorf("%s has a secret in its environment: %s", name, key)
			}
		}
		for _, secret := range s.Secrets {
			if c.Secrets[secret].File == "" {
				t.Errorf("%s wants the secret %s, which is not there", name, secret)
			}
		}
	}
	if p := c.Services["chaos"].Profiles; !slices.Equal(p, []string{"chaos"}) {
		t.Errorf("chaos starts by itself: %v", p)
	}
}

// TestEverySecretIsMade has deploy/secrets.sh make them twice: every file that the
// Compose file names, different each time, and never one that is there anew.
func TestEverySecretIsMade(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".env.example", "deploy"} {
		if out, err := exec.Command("cp", "-r", filepath.Join(root, name), dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	made := func(folder string) map[string]string {
		run := exec.Command("sh", filepath.Join(dir, "deploy/secrets.sh"), "absen.lan")
		run.Env = append(os.Environ(), "HADIR="+program(t), "HADIR_SECRETS="+filepath.Join(dir, folder))
		if out, err := run.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		files := make(map[string]string)
		for _, s := range compose(t).Secrets {
			_, name, ok := strings.Cut(s.File, "}/")
			if !ok {
				t.Fatalf("%s is not in the folder of the secrets", s.File)
			}
			b, err := os.ReadFile(filepath.Join(dir, folder, name))
			if err != nil || len(b) == 0 {
				t.Errorf("%s: %v", name, err)
			}
			files[name] = string(b)
		}
		return files
	}
	first, other := made("one"), made("two")
	for name, content := range first {
		if content == other[name] {
			t.Errorf("%s is the same for everybody", name)
		}
	}
	again := made("one")
	for name, content := range first {
		if kept := content == again[name]; kept == strings.HasPrefix(name, "tls/server.") { // hosts were given: a new certificate
			t.Errorf("%s was kept: %v", name, kept)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "one"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder can be entered by others: %v %v", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Join(dir, "one/tls/ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key of the authority: %v %v", info.Mode(), err)
	}
	if !strings.Contains(first["redis.url"], strings.TrimPrefix(strings.TrimSpace(first["redis.conf"]), "requirepass ")) ||
		!strings.Contains(first["export.url"], first["mysql.password"]) {
		t.Error("URLs and servers have different passwords")
	}
}

// TestEverySettingExists: a variable that nobody reads is a setting that silently
// does nothing.
func TestEverySettingExists(t *testing.T) {
	name := regexp.MustCompile(`\bHADIR_[A-Z0-9_]+`)
	read := make(map[string]bool)
	for _, command := range [][]string{{"serve"}, {"chaos"}, {"backup"}, {"cluster", "status"}, {"health"}} {
		for _, v := range name.FindAllString(hadir(t, append(command, "--help")...), -1) {
			read[v] = true
		}
	}
	if len(read) < 30 {
		t.Fatalf("only %d variables in the help: %v", len(read), slices.Sorted(maps.Keys(read)))
	}
	for service, s := range compose(t).Services {
		for key := range s.Environment {
			if strings.HasPrefix(key, "HADIR_") && !read[key] {
				t.Errorf("%s: no command reads %s", service, key)
			}
		}
	}
	for _, path := range []string{"deploy/kubernetes/hadir.yaml", "deploy/systemd/hadir.env.example"} {
		text := file(t, path)
		for _, line := range strings.Split(text, "\n") {
			if v := name.FindString(line); v != "" && (strings.Contains(line, "name: "+v) || strings.HasPrefix(strings.TrimLeft(line, "#"), v+"=")) && !read[v] {
				t.Errorf("%s: no command reads %s", path, v)
			}
		}
	}
	// What the Compose file asks of .env is in the example, and the other way round.
	asked, offered := make(map[string]bool), make(map[string]bool)
	for _, m := range regexp.MustCompile(`\$\{([A-Z_]+)`).FindAllStringSubmatch(file(t, "docker-compose.yml"), -1) {
		asked[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`(?m)^#?([A-Z_]+)=`).FindAllStringSubmatch(file(t, ".env.example"), -1) {
		offered[m[1]] = true
	}
	for v := range offered {
		if !asked[v] {
			t.Errorf(".env.example offers %s, which docker-compose.yml does not read", v)
		}
	}
	for v := range asked {
		// make docker sets these two.
		if !offered[v] && v != "HADIR_VERSION" && v != "HADIR_COMMIT" {
			t.Errorf("docker-compose.yml reads %s, which .env.example does not offer", v)
		}
	}
}

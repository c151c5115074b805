package picture

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"io"
)

const pageStyle = `*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--text);font:14px/1.45 ` + families + `}` +
	`main{padding:12px;overflow-x:auto}svg.picture{display:block;width:100%}@media print{main{overflow:visible}}` + "\n"

// HTML writes the picture as a page that is one file: it asks nobody for anything, and
// its policy forbids it to.
func (p *Picture) HTML(out io.Writer) error {
	style := Style() + pageStyle + "svg.picture{min-width:" + number(p.Width) + "px}\n"
	sum := sha256.Sum256([]byte(style))
	var b bytes.Buffer
	b.WriteString(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-` + base64.StdEncoding.EncodeToString(sum[:]) + `'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>` + escape(p.Title) + `</title>
<style>` + style + `</style>
</head>
<body>
<main tabindex="0" aria-label="` + escape(p.Title) + `">
` + p.Inline() + `
</main>
</body>
</html>
`)
	_, err := out.Write(b.Bytes())
	return err
}

package qemu
import ("testing";"fmt";"time";"context")
func TestZBoot(t *testing.T){ ctx,c:=context.WithTimeout(t.Context(),60*time.Second); defer c()
 m,err:=Start(ctx,Config{Kernel:"/tmp/w7/img2/vmlinuz",Initrd:"/tmp/w7/img2/initrd.zst",OnLine:func(l Line){fmt.Printf("\n%6.2f %s\n",l.At.Seconds(),l.Text)}})
 if err!=nil{t.Fatal(err)}
 defer m.Kill()
 last:=GPIO{}; t0:=time.Now()
 for { g,err:=m.GPIO(ctx); if err!=nil {break}; if g!=last { fmt.Printf(" +%d:%s",time.Since(t0).Milliseconds(),g.String()[:5]); t0=time.Now(); last=g }; time.Sleep(10*time.Millisecond) }
 e,err:=m.Wait(ctx); fmt.Println(e,err)
}

import time, jax, jax.numpy as jnp, numpy as np, equinox as eqx, optimistix as optx, diffrax, sys
import implicit_flow as imf
n=int(sys.argv[1]); K=int(sys.argv[2]); sc=float(sys.argv[3])
exec(open('/tmp/w/l3_crazy.py').read().split('n=int')[1].split('\n',1)[1].split('@eqx')[0])
@eqx.filter_jit
def solve(A,c0,target):
    problem=imf.Problem(imf.measurements.DenseMeasurement(A),jnp.zeros(2))
    iu=jnp.triu_indices(n)
    def miss(c,_):
        sol=imf.simulate(problem,imf.flows.SteeredFlow(Fourier(c)),alpha=1.0,t1=1.0,rtol=1e-7,throw=False,max_steps=256,solver=diffrax.Dopri8(),adjoint=diffrax.ForwardMode())
        return ((sol.X-target)/jnp.linalg.norm(target))[iu]
    s=optx.least_squares(miss,optx.LevenbergMarquardt(rtol=1e-12,atol=1e-12),c0,max_steps=200,throw=False)
    return s.value, jnp.linalg.norm(miss(s.value,None)), s.stats['num_steps']
for i in range(3):
    c0=jnp.asarray(sc*rng.standard_normal((2*K+1,2)))
    t=time.perf_counter(); tc=time.process_time()
    out=solve(jnp.asarray(A),c0,target); jax.block_until_ready(out[1])
    print('LM n',n,'rel',float(out[1]),'steps',out[2],'max|c|',float(jnp.abs(out[0]).max()),'cpu',time.process_time()-tc)
